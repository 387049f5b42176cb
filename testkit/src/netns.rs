//! Hosts that are none: network namespaces of this machine, each with one cable to the test.
//!
//! A namespace has its own loopback and its own ports, and reaches nothing but the other end of
//! its cable (a veth pair), where the test is. What connects two hosts is therefore a
//! [`Proxy`](crate::Proxy) of the test. No bridge and no forwarding: a packet filter of this
//! machine (Docker brings one) has no say.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{Process, ProcessBuilder};

/// All namespaces of tests begin with it; then come the test's process id and a number.
const PREFIX: &str = "a3s-test-";

/// Addresses are taken from 10.192.0.0/10, four for each host.
const NETWORK: u32 = u32::from_be_bytes([10, 192, 0, 0]);
const SUBNETS: u32 = 1 << 20;

/// Hosts that one test process may have before their addresses meet those of the next process.
const HOSTS: u32 = 64;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A host: a network namespace. Gone when dropped; end its processes first.
#[derive(Debug)]
pub struct Host {
    name: String,
    cable: String,
    ours: Ipv4Addr,
    theirs: Ipv4Addr,
}

/// Why there can be no hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A program is not installed.
    Program(&'static str),
    /// This process may not make namespaces, or the kernel has none.
    Right(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "there is no {name} (Debian: apt install iproute2)"),
            Self::Right(reason) => write!(f, "no network namespaces: {reason}"),
        }
    }
}

/// How a delay comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// The kernel delays the packets of the host's cable.
    Kernel,
    /// This kernel has no `netem`: a proxy has to do it.
    Proxy,
}

impl Host {
    /// Why there can be no hosts here; `None` when there can. Namespaces are for root, and the
    /// programs `ip` and `tc` make them.
    #[must_use]
    pub fn lacking() -> Option<Lack> {
        static LACKING: LazyLock<Option<Lack>> = LazyLock::new(lacking);
        LACKING.clone()
    }

    /// A new host.
    ///
    /// # Panics
    /// When there can be none: ask [`Host::lacking`] first.
    #[must_use]
    pub fn new() -> Self {
        remove_orphans();
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let name = format!("{PREFIX}{process}-{number}");
        let subnet = process.wrapping_mul(HOSTS).wrapping_add(number) % SUBNETS;
        let first = NETWORK + subnet * 4;
        // Names of interfaces have 15 characters at most.
        let cable = format!("a3s{subnet:x}");
        let host = Self {
            ours: Ipv4Addr::from(first + 1),
            theirs: Ipv4Addr::from(first + 2),
            name,
            cable,
        };
        host.build()
            .unwrap_or_else(|error| panic!("no host: {error}"));
        host
    }

    fn build(&self) -> Result<(), String> {
        let (name, cable) = (&self.name, &self.cable);
        run("ip", &["netns", "add", name])?;
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", name];
        run("ip", &[&["link", "add", cable][..], &peer].concat())?;
        run(
            "ip",
            &["addr", "add", &format!("{}/30", self.ours), "dev", cable],
        )?;
        run("ip", &["link", "set", cable, "up"])?;
        let inside = |arguments: &[&str]| run("ip", &[&["-n", name], arguments].concat());
        inside(&["addr", "add", &format!("{}/30", self.theirs), "dev", "eth0"])?;
        inside(&["link", "set", "eth0", "up"])?;
        inside(&["link", "set", "lo", "up"])
    }

    /// Its address, as the test sees it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.theirs
    }

    /// The test's address, as it sees it: where a proxy to another host listens.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.ours
    }

    /// A program of this machine that runs on this host, in this machine's files.
    #[must_use]
    pub fn process(&self, program: impl AsRef<Path>) -> ProcessBuilder {
        Process::at("ip")
            .args(["netns", "exec", &self.name])
            .arg(program.as_ref())
    }

    /// Delays what passes the cable by `delay` in each direction, if this kernel can.
    ///
    /// # Panics
    /// When it can in one direction only.
    #[must_use]
    pub fn delay(&self, delay: Duration) -> Delay {
        let time = format!("{}us", delay.as_micros());
        let rule = |device| ["qdisc", "add", "dev", device, "root", "netem", "delay"];
        let ours = [&rule(&self.cable)[..], &[&time]].concat();
        if run("tc", &ours).is_err() {
            return Delay::Proxy;
        }
        let theirs = [&["-n", &self.name][..], &rule("eth0"), &[&time]].concat();
        run("tc", &theirs).unwrap_or_else(|error| panic!("half a delay: {error}"));
        Delay::Kernel
    }

    /// Pulls the cable: nothing passes, and nobody is told.
    ///
    /// # Panics
    /// When it cannot be pulled.
    pub fn unplug(&self) {
        let pulled = run("ip", &["link", "set", &self.cable, "down"]);
        pulled.unwrap_or_else(|error| panic!("the cable is stuck: {error}"));
    }

    /// Puts the cable back.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn plug(&self) {
        let plugged = run("ip", &["link", "set", &self.cable, "up"]);
        plugged.unwrap_or_else(|error| panic!("the cable does not fit: {error}"));
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The cable goes with either end, but not before the last process of the namespace.
        let _ = run("ip", &["link", "del", &self.cable]);
        let _ = run("ip", &["netns", "del", &self.name]);
    }
}

fn lacking() -> Option<Lack> {
    for program in ["ip", "tc"] {
        if Command::new(program).arg("-V").output().is_err() {
            return Some(Lack::Program(program));
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Some(Lack::Right("they are for root".to_owned()));
    }
    // The cable too: a container may be allowed the one and not the other.
    let name = format!("{PREFIX}{}-probe", std::process::id());
    let cable = format!("a3sp{}", std::process::id());
    let made = run("ip", &["netns", "add", &name]).and_then(|()| {
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", &name];
        run("ip", &[&["link", "add", &cable][..], &peer].concat())
    });
    let _ = run("ip", &["link", "del", &cable]);
    let _ = run("ip", &["netns", "del", &name]);
    made.err().map(Lack::Right)
}

/// Removes the namespaces of tests that were killed.
fn remove_orphans() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|n| n.split('-').next());
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner).exists()
        {
            let _ = run("ip", &["netns", "del", &name]);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let line = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    match output {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            let said = String::from_utf8_lossy(&stderr);
            Err(format!("{}: {}", line(), said.trim()))
        }
        Err(error) => Err(format!("{}: {error}", line())),
    }
}
