//! Reads `docs/mcp.md`: the configurations that it shows, whatever the agent, and starts what they
//! start.

use std::io::Write as _;

use a3s_testkit::{Process, eventually};
use serde_json::{Value, json};

use crate::BOUND;

/// What an agent is told to start.
#[derive(Debug)]
pub(crate) struct Started {
    /// The program and its arguments.
    pub(crate) line: Vec<String>,
    /// Where the page says so.
    at: usize,
}

/// The commands in the page's configurations: JSON and TOML files, and the agents' own command
/// lines after ` -- `.
///
/// # Panics
/// When a block cannot be read, or is of no use.
pub(crate) fn commands(page: &str) -> Vec<Started> {
    let mut found = Vec::new();
    for (kind, at, text) in blocks(page) {
        match kind.as_str() {
            "json" => {
                let value: Value = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("line {at}: no JSON: {error}"));
                let mut lines = Vec::new();
                in_json(&value, &mut lines);
                found.extend(lines.into_iter().map(|line| Started { line, at }));
            }
            "toml" => found.push(Started {
                line: in_toml(&text),
                at,
            }),
            "sh" => {
                let lines = text.lines().filter_map(|line| line.split_once(" -- "));
                let words = |(_, line): (_, &str)| line.split(' ').map(str::to_owned).collect();
                found.extend(lines.map(|line| Started {
                    line: words(line),
                    at,
                }));
            }
            _ => {}
        }
    }
    found
}

/// The fenced blocks: their language, line, and text.
fn blocks(page: &str) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body = lines.by_ref().map(|(_, line)| line);
        let text: Vec<&str> = body.take_while(|line| line.trim() != "```").collect();
        found.push((kind.to_owned(), number + 1, text.join("\n")));
    }
    found
}

/// The objects with a `command`, however deep.
fn in_json(value: &Value, found: &mut Vec<Vec<String>>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Value::Object(fields) => {
            if let Some(command) = fields.get("command").and_then(text) {
                let args = fields.get("args").and_then(Value::as_array);
                let args = args.into_iter().flatten().filter_map(text);
                found.push([command].into_iter().chain(args).collect());
            }
            fields.values().for_each(|value| in_json(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| in_json(value, found)),
        _ => {}
    }
}

/// `command = "…"` and `args = […]`, which are JSON as well.
fn in_toml(text: &str) -> Vec<String> {
    let entry = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.trim_start().strip_prefix('='));
        let value = value.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        serde_json::from_str::<Value>(value.trim()).expect("simple TOML")
    };
    let args = entry("args");
    let args = args.as_array().expect("a list").iter();
    let args = args.filter_map(Value::as_str).map(str::to_owned);
    let command = entry("command");
    let command = command.as_str().expect("a text").to_owned();
    [command].into_iter().chain(args).collect()
}

/// Starts it as an agent does, in a directory of its own, asks for its tools, calls one, and goes.
pub(crate) async fn start(started: &Started) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (program, arguments) = started.line.split_first().expect("a program");
    let mut server = Process::of(program)
        .args(arguments)
        .env("A3S_STATE_DIR", directory.path().join("state"))
        .env("A3S_EMBEDDED", "true")
        .current_dir(directory.path())
        .start();
    let mut input = server.stdin().expect("it is piped");
    let hello = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "page", "version": "1"},
    });
    let command = json!({"name": "bash", "arguments": {"command": "echo it works"}});
    let messages = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": command}),
    ];
    for message in messages {
        writeln!(input, "{message}").expect("it reads");
    }
    let what = format!("an answer of the command in line {}", started.at);
    let answer = eventually(&what, BOUND, async || {
        let said = server.stdout();
        let answers = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut answers = answers.filter(|answer| answer["id"] == 2);
        answers.next().ok_or(said)
    })
    .await;
    assert_eq!(
        answer["result"]["content"][0]["text"], "it works\n",
        "{answer}"
    );
    drop(input);
    let status = server.wait(BOUND).await;
    assert!(status.success(), "{status}\n{}", server.stderr());
}

#[test]
fn configurations_are_found_in_every_kind_of_block() {
    let page = "```json\n{\"mcpServers\": {\"a3s\": {\"command\": \"x\", \"args\": [\"y\", \"z\"]}}}\n```\n\
                ```toml\n[a]\ncommand = \"x\"\nargs = [\"y\", \"z\"]\n```\n\
                1. text\n   ```sh\n   agent add a3s -- x y z\n   ```\n```text\nx\n```\n";
    let lines: Vec<_> = commands(page).into_iter().map(|one| one.line).collect();
    assert_eq!(lines, [["x", "y", "z"]; 3]);
}
