//! The images that `compose.yaml` names, made of static binaries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use a3s_shared::runtime::locate::locate;
use a3s_shared::runtime::version::RECOMMENDED;
use tempfile::TempDir;

use crate::docker::{docker, output_of, sources};

/// Where the static binaries are for.
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// As the official image is: the server in an empty file system.
const SERVER: &str = "FROM scratch\nCOPY nats-server /nats-server\nENTRYPOINT [\"/nats-server\"]\n";

/// Images of this test. Removed on drop.
pub(crate) struct Images {
    /// The tag of ours.
    pub(crate) tag: String,
    names: Vec<String>,
}

impl Images {
    /// Those of all tests of this process, made when the first one asks.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Images>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let images = Arc::new(Self::build());
            *shared = Arc::downgrade(&images);
            images
        })
    }

    /// Builds what is missing.
    fn build() -> Self {
        let tag = format!("e2e-{}", std::process::id());
        let mut images = Self {
            tag,
            names: Vec::new(),
        };
        let context = context();
        for program in ["coordinator", "worker"] {
            let name = format!("a3s-{program}:{}", images.tag);
            let file = "deploy/docker/Dockerfile.scratch";
            images.add(
                &name,
                &["--file", file, "--target", program],
                context.path(),
            );
        }
        images.server(context.path());
        images
    }

    /// The server's image is left alone where it is there; else one is made under its name.
    fn server(&mut self, context: &Path) {
        let name = format!("nats:{RECOMMENDED}");
        let compose = fs::read_to_string(sources().join("compose.yaml")).expect("it is readable");
        let named = compose.contains(&format!("image: {name}\n"));
        assert!(named, "compose.yaml has another server than {name}");
        let there = docker(["image", "inspect", &name]).output();
        if there.is_ok_and(|output| output.status.success()) {
            return;
        }
        let server = locate().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(server.version, RECOMMENDED, "{}", server.path.display());
        fs::copy(server.path, context.join("nats-server")).expect("the server is copied");
        let file = context.join("Dockerfile");
        fs::write(&file, SERVER).expect("it is written");
        let file = file.to_str().expect("a temporary path is text");
        self.add(&name, &["--file", file], context);
    }

    fn add(&mut self, name: &str, arguments: &[&str], context: &Path) {
        let mut build = docker(["build", "--quiet", "--tag", name]);
        output_of(build.args(arguments).arg(context));
        self.names.push(name.to_owned());
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = docker(["image", "rm", "--force", name]).output();
        }
    }
}

/// A directory with all that Dockerfile.scratch copies.
fn context() -> TempDir {
    let context = tempfile::tempdir().expect("a temporary directory");
    let built = static_binaries();
    for program in ["a3s-coordinator", "a3s-worker"] {
        fs::copy(built.join(program), context.path().join(program)).expect("it has been built");
    }
    fs::copy(busybox(), context.path().join("busybox")).expect("busybox is copied");
    context
}

/// Builds our programs and returns where they are. Minutes the first time, as all dependencies
/// are compiled once more for static linking; build scripts and macros are shared with the rest.
fn static_binaries() -> PathBuf {
    let target = sources().join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--target", TARGET])
        .args(["-p", "a3s-coordinator", "-p", "a3s-worker"])
        .arg("--target-dir")
        .arg(&target)
        // No debug information: it would be most of an image, and a good part of the build.
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C debuginfo=0 -C strip=symbols",
        )
        .current_dir(sources());
    output_of(&mut cargo);
    target.join(TARGET).join("debug")
}

/// A static busybox: the one of this machine, else the one in Debian's package, which needs no
/// root to be fetched and unpacked.
fn busybox() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut here = std::env::split_paths(&path).map(|dir| dir.join("busybox"));
    if let Some(found) = here.find(|file| is_static(file)) {
        return found;
    }
    let dir = sources().join("target/busybox-static");
    let found = dir.join("bin/busybox");
    if !found.is_file() {
        fs::create_dir_all(&dir).expect("a directory below target");
        let fetch = "apt-get download --quiet busybox-static && dpkg-deb --extract *.deb .";
        output_of(Command::new("sh").args(["-c", fetch]).current_dir(&dir));
    }
    found
}

/// Whether a file is a program that needs no loader.
fn is_static(file: &Path) -> bool {
    let linked = |file| Command::new("ldd").arg(file).output();
    file.is_file() && linked(file).is_ok_and(|output| !output.status.success())
}
