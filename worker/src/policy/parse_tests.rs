//! What a policy's file may say, and what is said of mistakes.

use super::*;

fn parse(text: &str) -> Result<Policy, (usize, String)> {
    Policy::parse(text, Some(Path::new("/home/me")))
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse(""), Ok(Policy::default()));
}

#[test]
fn every_key_is_read() {
    let text = r#"
        tools = ["read", "bash"]
        environment = ["PATH", "LC_*"]
        network = true
        unix_sockets = true

        [paths]
        read = [".", "~/.cargo", "/opt/jdk"]
        write = ["target"]

        [limits]
        output = "1M"
        time = "10m"
        memory = "2G"
        cpu_seconds = 600
        processes = 200
    "#;
    let policy = parse(text).expect("it is right");
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    let roots = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
    let expected = Policy {
        tools: Some(["bash".to_owned(), "read".to_owned()].into()),
        paths: Paths {
            read: roots(&[".", "/home/me/.cargo", "/opt/jdk"]),
            write: roots(&["target"]),
        },
        environment: Environment::Only(words(&["PATH", "LC_*"])),
        network: true,
        unix_sockets: true,
        limits: PolicyLimits {
            output: Some(1 << 20),
            time: Some(Duration::from_secs(600)),
            programs: Limits {
                max_memory: Some(2 << 30),
                max_cpu_seconds: Some(600),
                max_processes: Some(200),
            },
        },
    };
    assert_eq!(policy, expected);
}

/// The line, and what the message must name: the mistake or the way out.
#[test]
fn a_mistake_is_told_with_its_line_and_the_next_step() {
    let mistakes = [
        ("\nnetwrk = true", 2, "expected one of `tools`"),
        ("network = \"no\"", 1, "expected a boolean"),
        ("\n\ntools = []", 3, "leave the key out"),
        ("tools = \"read\"", 1, "expected a sequence"),
        ("environment = [\"NATS_URL\"]", 1, "another name"),
        ("environment = [\n\"PATH\",\n\"A B\"]", 3, "write HOME"),
        ("[paths]\nwrit = []", 2, "expected `read` or `write`"),
        ("[paths]\nread = [\".\",\n\"../x\"]", 3, "absolute one"),
        ("[limits]\ntime = \"soon\"", 2, "write 90s"),
        ("[limits]\ntime = 90", 2, "expected a string"),
        ("[limits]\noutput = \"0\"", 2, "write 512M"),
        ("[limits]\nprocesses = 0", 2, "nonzero"),
        ("[limits]\nmemory = \"2G\"\nmemory = \"3G\"", 3, "duplicate"),
        ("network = ", 1, ""),
    ];
    for (text, line, word) in mistakes {
        let (told, why) = parse(text).expect_err(text);
        assert_eq!(told, line, "{text:?}: {why}");
        assert!(
            why.contains(word),
            "{text:?}: {why:?} does not say {word:?}"
        );
    }
}

#[test]
fn a_home_that_is_not_known_is_no_root() {
    let (line, why) = Policy::parse("[paths]\nread = [\"~/x\"]", None).expect_err("no home");
    assert_eq!(line, 2);
    assert!(why.contains("HOME is not set"), "{why}");
}

#[test]
fn the_policy_of_the_documentation_can_be_used() {
    let chapter = include_str!("../../../docs/security.md")
        .split("## Sandbox")
        .nth(1);
    let block = chapter.and_then(|text| text.split("```toml").nth(1));
    let text = block.and_then(|text| text.split("```").next());
    let policy = parse(text.expect("an example")).expect("it is right");
    assert_eq!(policy.limits.time, Some(Duration::from_secs(600)));
}
