//! A role's nkey: who has the seed is the role. The server knows the public half alone.

use a3s_shared::runtime::credential::INBOX_LINE;
use nkeys::KeyPair;

use super::role::Role;

/// A role and its new key.
pub(crate) struct Identity {
    /// Who it is.
    pub(crate) role: Role,
    /// The public key, for configurations: `U…`.
    pub(crate) public: String,
    /// The secret: `SU…`.
    pub(crate) seed: String,
}

impl Identity {
    /// A new key.
    ///
    /// # Errors
    /// When no seed can be made of it, which does not happen with a key that was just made.
    pub(crate) fn new(role: Role) -> Result<Self, nkeys::error::Error> {
        let pair = KeyPair::new_user();
        Ok(Self {
            role,
            public: pair.public_key(),
            seed: pair.seed()?,
        })
    }

    /// The text of its file. Our programs read the inbox from it; the `nats` CLI reads the seed
    /// and has to be told the inbox.
    pub(crate) fn file(&self) -> String {
        let Self { role, public, seed } = self;
        format!(
            "# {role}\n# public: {public}\n{INBOX_LINE} {}\n{seed}\n",
            role.inbox()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_key_that_the_server_knows() {
        let identity = Identity::new(Role::Observer).expect("a key");
        let file = identity.file();
        let seed = file
            .lines()
            .find(|line| line.starts_with("SU"))
            .expect("a seed");
        let pair = KeyPair::from_seed(seed).expect("a valid seed");
        assert_eq!(pair.public_key(), identity.public);
        assert!(file.contains("# inbox: _INBOX_observer\n"), "{file}");
    }
}
