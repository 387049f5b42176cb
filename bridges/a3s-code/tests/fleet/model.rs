//! A language model that follows a script, behind the HTTP interface that the agent speaks
//! (OpenAI's chat completions, streamed as server-sent events). It keeps what it was sent.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};
use tiny_http::{Header, Request, Response, Server, StatusCode};

/// Requests that are answered at a time.
const THREADS: usize = 8;

/// How every prompt of the tests begins, so that it can be told from what the agent adds.
const PROMPT: &str = "task";

/// What the model says at one turn.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    /// Calls of tools: names and arguments.
    Calls(Vec<(String, Value)>),
    /// Its answer.
    Text(String),
}

/// A call of one tool.
pub(crate) fn call(tool: &str, args: Value) -> Say {
    Say::Calls(vec![(tool.to_owned(), args)])
}

/// An answer.
pub(crate) fn text(text: &str) -> Say {
    Say::Text(text.to_owned())
}

/// What the model says to a prompt, turn by turn from 0.
pub(crate) type Script = dyn Fn(&str, usize) -> Say + Send + Sync;

/// The model. Ends with the test.
pub(crate) struct Model {
    url: String,
    server: Arc<Server>,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Model {
    /// One that follows `script`.
    pub(crate) fn start(script: impl Fn(&str, usize) -> Say + Send + Sync + 'static) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a free port"));
        let address = server.server_addr().to_ip().expect("an address");
        let (script, heard) = (Arc::new(script), Arc::new(Mutex::default()));
        for _ in 0..THREADS {
            let (server, script, heard) = (server.clone(), script.clone(), Arc::clone(&heard));
            thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    answer(request, script.as_ref(), &heard);
                }
            });
        }
        let url = format!("http://{address}/v1");
        Self { url, server, heard }
    }

    /// The agent's configuration that leads here.
    pub(crate) fn config(&self) -> String {
        format!(
            r#"
default_model = "openai/scripted"
providers "openai" {{
  api_key  = "none"
  base_url = "{}"
  models "scripted" {{
    name       = "scripted"
    tool_call  = true
    attachment = true
    modalities = {{ input = ["text", "image"], output = ["text"] }}
  }}
}}
memory {{
  llm_extraction = false
}}
"#,
            self.url
        )
    }

    /// The requests that were about `prompt`, in order.
    pub(crate) fn requests(&self, prompt: &str) -> Vec<Value> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let about = heard
            .iter()
            .filter(|request| prompt_of(request).is_some_and(|(at, _)| at == prompt));
        about.cloned().collect()
    }

    /// What the model was told of the tools it called, in order.
    pub(crate) fn told(&self, prompt: &str) -> Vec<String> {
        let last = self.requests(prompt).pop().unwrap_or_default();
        let messages = last["messages"].as_array().cloned().unwrap_or_default();
        let tools = messages.iter().filter(|message| message["role"] == "tool");
        tools.map(|message| content(&message["content"])).collect()
    }

    /// The names of the tools that it was offered.
    pub(crate) fn offered(&self, prompt: &str) -> Vec<String> {
        let first = self.requests(prompt).into_iter().next().unwrap_or_default();
        let tools = first["tools"].as_array().cloned().unwrap_or_default();
        let name = |tool: &Value| tool["function"]["name"].as_str().map(str::to_owned);
        tools.iter().filter_map(name).collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        for _ in 0..THREADS {
            self.server.unblock();
        }
    }
}

/// The text of a message.
fn content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => String::new(),
    }
}

/// The newest prompt of a request, and how often the model has spoken since.
fn prompt_of(request: &Value) -> Option<(String, usize)> {
    let messages = request["messages"].as_array()?;
    let is_prompt = |message: &Value| {
        message["role"] == "user" && content(&message["content"]).starts_with(PROMPT)
    };
    let at = messages.iter().rposition(is_prompt)?;
    let turns = messages[at..]
        .iter()
        .filter(|message| message["role"] == "assistant");
    Some((content(&messages[at]["content"]), turns.count()))
}

fn answer(mut request: Request, script: &Script, heard: &Mutex<Vec<Value>>) {
    let mut body = String::new();
    let read = request.as_reader().read_to_string(&mut body);
    let body: Value = match read.map(|_| serde_json::from_str(&body)) {
        Ok(Ok(body)) => body,
        _ => return,
    };
    let say = match prompt_of(&body) {
        Some((prompt, turn)) => script(&prompt, turn),
        None => text("I was not asked anything."),
    };
    let streamed = body["stream"] == true;
    heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(body);
    let (kind, answer) = if streamed {
        ("text/event-stream", streaming(&say))
    } else {
        ("application/json", whole(&say).to_string())
    };
    let header = Header::from_bytes("content-type", kind).expect("a header");
    let data = Cursor::new(answer.into_bytes());
    // Without a length it is sent in chunks.
    let response = Response::new(StatusCode(200), vec![header], data, None, None);
    // The agent may have been cancelled meanwhile.
    let _ = request.respond(response);
}

fn tool_calls(say: &Say) -> Vec<Value> {
    let Say::Calls(calls) = say else {
        return Vec::new();
    };
    let call = |(index, (name, args)): (usize, &(String, Value))| {
        json!({
            "index": index, "id": format!("call_{name}_{index}"), "type": "function",
            "function": { "name": name, "arguments": args.to_string() },
        })
    };
    calls.iter().enumerate().map(call).collect()
}

fn whole(say: &Say) -> Value {
    let (content, reason) = match say {
        Say::Text(text) => (json!(text), "stop"),
        Say::Calls(_) => (Value::Null, "tool_calls"),
    };
    json!({
        "id": "scripted", "object": "chat.completion", "model": "scripted",
        "choices": [{ "index": 0, "finish_reason": reason, "message": {
            "role": "assistant", "content": content, "tool_calls": tool_calls(say),
        }}],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
    })
}

/// The same in pieces: each word, or each half of a call's arguments.
fn streaming(say: &Say) -> String {
    let mut deltas = Vec::new();
    if let Say::Text(text) = say {
        deltas.extend(
            text.split_inclusive(' ')
                .map(|word| json!({ "content": word })),
        );
    }
    for mut call in tool_calls(say) {
        let args = call["function"]["arguments"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let half = (0..=args.len() / 2)
            .rev()
            .find(|at| args.is_char_boundary(*at));
        let (first, second) = args.split_at(half.unwrap_or(0));
        call["function"]["arguments"] = first.into();
        let index = call["index"].clone();
        deltas.push(json!({ "tool_calls": [call] }));
        let rest = json!({ "index": index, "function": { "arguments": second } });
        deltas.push(json!({ "tool_calls": [rest] }));
    }
    let reason = match say {
        Say::Text(_) => "stop",
        Say::Calls(_) => "tool_calls",
    };
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
    let chunk = |delta: &Value, reason: Value, usage: Value| {
        let chunk = json!({
            "id": "scripted", "object": "chat.completion.chunk", "model": "scripted",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }], "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let mut stream: String = deltas
        .iter()
        .map(|delta| chunk(delta, Value::Null, Value::Null))
        .collect();
    stream.push_str(&chunk(&json!({}), reason.into(), usage));
    stream.push_str("data: [DONE]\n\n");
    stream
}
