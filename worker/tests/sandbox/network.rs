//! Sockets: none where there is no network, and the same attempts succeed where there is one.

use std::os::unix::net::UnixListener;

use a3s_shared::protocol::Outcome;

use super::caged::Caged;

/// Prints the families of which a socket could be made, by their numbers.
const FAMILIES: &str = "perl -MSocket -e 'for my $f (1..45) { \
                        print \"$f \" if socket(my $s, $f, SOCK_DGRAM, 0) \
                        || socket($s, $f, SOCK_STREAM, 0) || socket($s, $f, SOCK_RAW, 0) }'";

/// A command that connects to the broker, which is there.
fn connect(caged: &Caged) -> String {
    let url = caged.rig.server.url();
    let (host, port) = url
        .trim_start_matches("nats://")
        .rsplit_once(':')
        .expect("an address");
    format!("exec 3<>/dev/tcp/{host}/{port} && head -c 4 <&3")
}

#[tokio::test]
async fn without_a_network_there_is_no_socket() {
    let caged = Caged::start("").await;
    if !caged.held_by("seccomp") {
        return;
    }
    let tcp = caged.bash(&connect(&caged)).await;
    assert_eq!(tcp.outcome(), Outcome::Failed, "{tcp:#?}");
    let error = tcp.error.unwrap_or_default();
    assert!(
        error.contains("refused by policy rule \"network\""),
        "{error}"
    );
    let udp = caged.bash("echo x > /dev/udp/127.0.0.1/53").await;
    assert_eq!(udp.outcome(), Outcome::Failed, "{udp:#?}");
    assert_eq!(caged.output(FAMILIES).await, "");
    let pair = "perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) and print 1'";
    assert_eq!(caged.output(pair).await, "1", "a pair leads to nobody");
    // By its second number, which a filter of the first does not see.
    if cfg!(target_arch = "x86_64") {
        let x32 = "perl -e '$n = 41 | 0x40000000; print 0 + (syscall($n, 2, 1, 0) < 0)'";
        assert_eq!(caged.output(x32).await, "1");
    }
}

#[tokio::test]
async fn with_a_network_there_are_sockets_of_the_internet_and_no_others() {
    let caged = Caged::start("network = true").await;
    assert_eq!(caged.output(&connect(&caged)).await, "INFO");
    if !caged.held_by("seccomp") {
        return;
    }
    let families = caged.output(FAMILIES).await;
    let (inet, inet6, netlink) = ("2", "10", "16");
    let families: Vec<&str> = families.split_whitespace().collect();
    assert!(families.contains(&inet), "{families:?}");
    let known = [inet, inet6, netlink];
    assert!(families.iter().all(|f| known.contains(f)), "{families:?}");
}

#[tokio::test]
async fn a_unix_socket_of_the_machine_is_reached_by_a_rule_of_its_own() {
    for (policy, expected) in [("", ""), ("unix_sockets = true", "1")] {
        let caged = Caged::start(policy).await;
        if !caged.held_by("seccomp") {
            return;
        }
        let _daemon = UnixListener::bind(caged.rig.workspace().join("daemon")).expect("a socket");
        let connect = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) \
                       && connect(S, sockaddr_un(\"daemon\")) && print 1'";
        assert_eq!(caged.output(connect).await, expected, "{policy}");
    }
}
