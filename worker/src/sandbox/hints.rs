//! Why a program failed, if it may have been the policy: a guess from what it printed, for the
//! kernel tells a program no more than "permission denied".

use super::Level;
use crate::policy::{Policy, Rule};

/// What programs print when they cannot have a socket or find no host.
const NETWORK: [&str; 7] = [
    "socket: Operation not permitted",
    "/dev/tcp/",
    "/dev/udp/",
    "resolve host",
    "name resolution",
    "Name or service not known",
    "Network is unreachable",
];

/// Words that complete the error text of a program that printed `stderr`; `None` when it printed
/// nothing that sounds like the policy.
pub(super) fn hint(policy: &Policy, level: &Level, stderr: &str) -> Option<String> {
    let Level::Kernel { landlock, seccomp } = level else {
        return None;
    };
    let says = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    if *seccomp && !policy.network && says(&NETWORK) {
        let rule = Rule::Network;
        return Some(format!(
            "refused by policy rule \"{rule}\": there is no network"
        ));
    }
    if landlock.is_some() && says(&["Permission denied", "EACCES", "os error 13"]) {
        let (read, write) = (Rule::PathsRead, Rule::PathsWrite);
        return Some(format!(
            "what was denied may be outside of policy rule \"{read}\" or \"{write}\""
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_made_only_where_the_policy_is_held() {
        let mut policy = Policy::default();
        let held = Level::Kernel {
            landlock: Some(6),
            seccomp: true,
        };
        let network = "curl: (6) Could not resolve host: example.org";
        let told = hint(&policy, &held, network).expect("there is no network");
        assert!(told.contains("rule \"network\""), "{told}");
        let told = hint(&policy, &held, "cat: /srv/x: Permission denied").expect("a path");
        assert!(told.contains("\"paths.read\""), "{told}");
        assert_eq!(hint(&policy, &held, "no such file"), None);
        policy.network = true;
        assert_eq!(hint(&policy, &held, network), None);
        assert_eq!(hint(&Policy::default(), &Level::Off, network), None);
    }
}
