//! The vectors of signatures, which every language proves: the same bytes, the same signature, and
//! the same answers of trust lists. And the law behind them: no field can be changed unseen.

use std::path::PathBuf;

use a3s_shared::protocol::SessionLane;
use a3s_shared::protocol::signature::{
    BodyDigest, Role, SignedResult, SignedTask, SigningKey, TrustList, is_signed_by,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Everybody knows these seeds: they sign nothing but the vectors.
const SEEDS: [&str; 2] = [
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "SUAPNIC3Y35PKET6UN4NX7CM65LF6E7ZZIHS2FZSMRDAADHVXTPWXTWKX4",
];

#[derive(Debug, Serialize, Deserialize)]
struct Vectors {
    keys: Vec<Key>,
    tasks: Vec<Vector<Task>>,
    results: Vec<Vector<Answer>>,
    trust: Vec<Trust>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    seed: String,
    public: String,
}

/// What is said, the bytes that are signed (hexadecimal), and by whom.
#[derive(Debug, Serialize, Deserialize)]
struct Vector<T> {
    name: String,
    fields: T,
    body: String,
    canonical: String,
    key: String,
    signature: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    subject: String,
    session_id: String,
    task_id: String,
    lane: SessionLane,
    command_type: String,
    message_id: String,
    reply_to: String,
    deadline: String,
    max_attempts: String,
    retry_delay: String,
    effect: String,
    content_type: String,
    workspace: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    subject: String,
    session_id: String,
    task_id: String,
    worker_id: String,
    answers: String,
    content_type: String,
}

/// A trust list, a question, and `null` or the rule that says no.
#[derive(Debug, Serialize, Deserialize)]
struct Trust {
    list: String,
    role: String,
    key: String,
    session: String,
    lane: SessionLane,
    tool: String,
    error: Option<String>,
}

impl Task {
    fn signed(&self, body: &[u8]) -> SignedTask<'_> {
        SignedTask {
            subject: &self.subject,
            session_id: &self.session_id,
            task_id: &self.task_id,
            lane: self.lane,
            command_type: &self.command_type,
            body: BodyDigest::of(body),
            message_id: &self.message_id,
            reply_to: &self.reply_to,
            deadline: &self.deadline,
            max_attempts: &self.max_attempts,
            retry_delay: &self.retry_delay,
            effect: &self.effect,
            content_type: &self.content_type,
            workspace: &self.workspace,
        }
    }

    /// The field with this number, to be changed.
    fn field(&mut self, number: usize) -> &mut String {
        match number {
            0 => &mut self.subject,
            1 => &mut self.session_id,
            2 => &mut self.task_id,
            3 => &mut self.command_type,
            4 => &mut self.message_id,
            5 => &mut self.reply_to,
            6 => &mut self.deadline,
            7 => &mut self.max_attempts,
            8 => &mut self.retry_delay,
            9 => &mut self.effect,
            10 => &mut self.content_type,
            _ => &mut self.workspace,
        }
    }
}

impl Answer {
    fn signed(&self, body: &[u8]) -> SignedResult<'_> {
        SignedResult {
            subject: &self.subject,
            session_id: &self.session_id,
            task_id: &self.task_id,
            worker_id: &self.worker_id,
            answers: &self.answers,
            content_type: &self.content_type,
            body: BodyDigest::of(body),
        }
    }

    fn field(&mut self, number: usize) -> &mut String {
        match number {
            0 => &mut self.subject,
            1 => &mut self.session_id,
            2 => &mut self.task_id,
            3 => &mut self.worker_id,
            4 => &mut self.answers,
            _ => &mut self.content_type,
        }
    }
}

fn keys() -> [SigningKey; 2] {
    SEEDS.map(|seed| SigningKey::from_text(seed).expect("a seed"))
}

fn full_task() -> Task {
    Task {
        subject: "a3s.demo.execute.eu".into(),
        session_id: "demo".into(),
        task_id: "t1".into(),
        lane: SessionLane::Execute,
        command_type: "bash".into(),
        message_id: "demo.t1".into(),
        reply_to: "a3s.demo.result.t1".into(),
        deadline: "1760000000000".into(),
        max_attempts: "1".into(),
        retry_delay: "none".into(),
        effect: "once".into(),
        content_type: "application/json".into(),
        workspace: "sha256-0f".into(),
    }
}

fn bare_task() -> Task {
    Task {
        subject: "a3s.demo.own.query".into(),
        task_id: "t-2".into(),
        lane: SessionLane::Query,
        command_type: "größe ✓".into(),
        message_id: String::new(),
        reply_to: String::new(),
        deadline: String::new(),
        max_attempts: String::new(),
        retry_delay: String::new(),
        effect: String::new(),
        content_type: String::new(),
        workspace: String::new(),
        ..full_task()
    }
}

fn answer() -> Answer {
    Answer {
        subject: "a3s.demo.result.t1".into(),
        session_id: "demo".into(),
        task_id: "t1".into(),
        worker_id: "w-1".into(),
        answers: "c2lnbmF0dXJl".into(),
        content_type: "application/msgpack".into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn task_vector(name: &str, fields: Task, body: &str, key: &SigningKey) -> Vector<Task> {
    let canonical = fields.signed(body.as_bytes()).canonical();
    Vector {
        name: name.into(),
        fields,
        body: body.into(),
        signature: key.sign(&canonical),
        canonical: hex(&canonical),
        key: key.id().into(),
    }
}

fn result_vector(name: &str, fields: Answer, body: &str, key: &SigningKey) -> Vector<Answer> {
    let canonical = fields.signed(body.as_bytes()).canonical();
    Vector {
        name: name.into(),
        fields,
        body: body.into(),
        signature: key.sign(&canonical),
        canonical: hex(&canonical),
        key: key.id().into(),
    }
}

fn trust_vectors(keys: &[SigningKey; 2]) -> Vec<Trust> {
    let (one, two) = (keys[0].id(), keys[1].id());
    let list = format!(
        "[[key]]\nkey = \"{one}\"\nname = \"ci\"\nsessions = [\"ci-*\", \"a\"]\nlanes = [\"query\"]\n\
         tools = [\"read\", \"l*\"]\n\n[[key]]\nkey = \"{two}\"\nrole = \"worker\"\n"
    );
    let query = SessionLane::Query;
    let asked = [
        (Role::Coordinator, one, "ci-7", query, "read"),
        (Role::Coordinator, one, "a", query, "ls"),
        (Role::Coordinator, one, "ab", query, "read"),
        (Role::Coordinator, one, "a", SessionLane::Execute, "read"),
        (Role::Coordinator, one, "a", query, "bash"),
        (Role::Coordinator, two, "a", query, "read"),
        (Role::Worker, two, "any", SessionLane::Generate, "any"),
        (Role::Worker, one, "a", query, "read"),
    ];
    let trust = |(role, key, session, lane, tool): (Role, &str, &str, _, &str)| {
        let parsed = TrustList::parse(&list, role).expect("a trust list");
        let answer = parsed.permits(role, key, session, lane, tool);
        Trust {
            list: list.clone(),
            role: role.to_string(),
            key: key.into(),
            session: session.into(),
            lane,
            tool: tool.into(),
            error: answer.err().map(|refusal| refusal.to_string()),
        }
    };
    asked.map(trust).into()
}

/// What the file is to hold.
fn vectors() -> Vectors {
    let keys = keys();
    let signed = SEEDS.iter().zip(&keys).map(|(seed, key)| Key {
        seed: (*seed).into(),
        public: key.id().into(),
    });
    let json = r#"{"command_type":"bash","payload":{"command":"true"},"task_id":"t1"}"#;
    Vectors {
        keys: signed.collect(),
        tasks: vec![
            task_vector("every header", full_task(), json, &keys[0]),
            task_vector("no header, not ASCII", bare_task(), "{}", &keys[1]),
            task_vector("an empty body", full_task(), "", &keys[1]),
        ],
        results: vec![
            result_vector("of a signed task", answer(), "{\"ok\":1}", &keys[1]),
            result_vector(
                "of a task that was not signed",
                Answer {
                    answers: String::new(),
                    content_type: String::new(),
                    ..answer()
                },
                "",
                &keys[0],
            ),
        ],
        trust: trust_vectors(&keys),
    }
}

#[test]
fn the_vectors_are_those_that_every_language_reads() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/signatures/vectors.json");
    let mut made = serde_json::to_string_pretty(&vectors()).expect("plain fields");
    made.push('\n');
    if std::env::var_os("A3S_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, &made).expect("the vectors are written");
    }
    let kept = std::fs::read_to_string(&path).expect("the vectors");
    assert_eq!(kept, made, "run with A3S_WRITE_FIXTURES=1 if it is meant");
    let read: Vectors = serde_json::from_str(&kept).expect("vectors");
    for task in &read.tasks {
        let bytes = task.fields.signed(task.body.as_bytes()).canonical();
        assert!(is_signed_by(&task.key, &bytes, &task.signature), "{task:?}");
    }
    for result in &read.results {
        let bytes = result.fields.signed(result.body.as_bytes()).canonical();
        assert!(is_signed_by(&result.key, &bytes, &result.signature));
    }
}

proptest! {
    // A signature takes a millisecond in a debug build.
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_field_of_a_task_can_be_changed_unseen(number in 0..14_usize, text in ".{0,12}") {
        let (key, mut task, body) = (&keys()[0], full_task(), b"body".as_slice());
        let signature = key.sign(&task.signed(body).canonical());
        let mut other: &[u8] = body;
        match number {
            12 => task.lane = SessionLane::Query,
            13 => {
                prop_assume!(text.as_bytes() != body);
                other = text.as_bytes();
            }
            _ => {
                prop_assume!(*task.field(number) != text);
                task.field(number).clone_from(&text);
            }
        }
        prop_assert!(!task.signed(other).is_signed_by(key.id(), &signature));
    }

    #[test]
    fn no_field_of_a_result_can_be_changed_unseen(number in 0..7_usize, text in ".{0,12}") {
        let (key, mut answer, body) = (&keys()[0], answer(), b"body".as_slice());
        let signature = key.sign(&answer.signed(body).canonical());
        let mut other: &[u8] = body;
        match number {
            6 => {
                prop_assume!(text.as_bytes() != body);
                other = text.as_bytes();
            }
            _ => {
                prop_assume!(*answer.field(number) != text);
                answer.field(number).clone_from(&text);
            }
        }
        let bytes = answer.signed(other).canonical();
        prop_assert!(!is_signed_by(key.id(), &bytes, &signature));
    }
}
