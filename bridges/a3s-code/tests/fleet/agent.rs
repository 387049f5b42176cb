//! What the model sees of tools that workers run.

use std::sync::Arc;

use a3s_code_fleet::{FleetOptions, FleetTool};
use serde_json::json;
use tokio::task::JoinSet;

use crate::model::{Say, call, text};
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_the_agent_is_done_by_a_worker() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("read", json!({"file_path": "hello.txt"})),
        _ => text("It says hello."),
    })
    .await;
    stage.write("hello.txt", "hello from there\n");
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let answer = session.send("task read", None).await.expect("an answer");

    assert_eq!(answer.text, "It says hello.");
    let told = stage.model.told("task read");
    assert!(told[0].contains("hello from there"), "{told:?}");
    let stats = fleet.stats();
    assert_eq!((stats.calls, stats.answered, stats.completed), (1, 1, 1));
    fleet.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_path_in_the_agents_workspace_is_read_on_the_worker() {
    let stage = Arc::new(std::sync::OnceLock::<String>::new());
    let path = Arc::clone(&stage);
    let stage = {
        let script = move |_: &str, turn: usize| match turn {
            0 => call("read", json!({"file_path": path.get().expect("it is set")})),
            _ => text("done"),
        };
        let made = Stage::new(script).await;
        let whole = made.here.path().join("hello.txt");
        stage
            .set(whole.to_string_lossy().into_owned())
            .expect("set once");
        made
    };
    stage.write("hello.txt", "hello from there\n");
    let _worker = stage.worker("w1", &[]).await;
    let (session, _fleet) = stage.session(&FleetOptions::new()).await;

    session.send("task path", None).await.expect("an answer");

    let told = stage.model.told("task path");
    assert!(told[0].contains("hello from there"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_shows_the_model_its_output_and_its_exit_code() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("bash", json!({"command": "echo out; echo err >&2; exit 3"})),
        _ => text("It failed."),
    })
    .await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    session.send("task exit", None).await.expect("an answer");

    let told = stage.model.told("task exit").remove(0);
    for part in ["out", "err", "exited with code 3"] {
        assert!(told.contains(part), "{told:?}");
    }
    let stats = fleet.stats();
    assert_eq!((stats.answered, stats.failed), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_many_files_is_a_task_for_each_and_one_answer_in_order() {
    let files = 1..=12;
    let asked: Vec<_> = files
        .clone()
        .map(|n| json!({"path": format!("f{n}")}))
        .collect();
    let stage = Stage::new(move |_, turn| match turn {
        0 => call("read", json!({"files": asked})),
        _ => text("done"),
    })
    .await;
    for n in files.clone().filter(|n| *n != 7) {
        stage.write(&format!("f{n}"), format!("this is file {n}.\n"));
    }
    let _workers = (
        stage.worker("w1", &["-j", "1"]).await,
        stage.worker("w2", &["-j", "1"]).await,
    );
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    session.send("task many", None).await.expect("an answer");

    let told = stage.model.told("task many").remove(0);
    let heads: Vec<usize> = files
        .clone()
        .map(|n| told.find(&format!("=== f{n} ===")).expect("its head"))
        .collect();
    assert!(heads.is_sorted(), "{told}");
    assert!(told.contains("this is file 12."), "{told}");
    let stats = fleet.stats();
    assert_eq!((stats.calls, stats.submitted), (1, 12));
    assert_eq!((stats.completed, stats.failed), (11, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_arrives_to_the_last_byte() {
    // More than fits into a message of the broker, and everything that is easily broken.
    let nasty = "\u{0}\"\\\n\r\t$HOME `x` 'y' ä 漢 🦀 \u{202e}".repeat(9_000);
    let sent = nasty.clone();
    let stage = Stage::new(move |_, turn| match turn {
        0 => call("write", json!({"file_path": "nasty", "content": sent})),
        _ => text("done"),
    })
    .await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, _fleet) = stage.session(&FleetOptions::new()).await;

    session.send("task write", None).await.expect("an answer");

    let told = stage.model.told("task write");
    let written = std::fs::read(stage.there.path().join("nasty"));
    let written = written.unwrap_or_else(|error| panic!("{error}: {told:?}"));
    assert!(written == nasty.as_bytes(), "{} bytes", written.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_in_the_conversation_as_it_is() {
    // The smallest picture that is one.
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let stage = Stage::new(|_, turn| match turn {
        0 => call("screenshot", json!({"of": "the page"})),
        _ => text("A dot."),
    })
    .await;
    let result = json!({"success": true, "result": {
        "output": "a picture", "images": [{"data": picture, "media_type": "image/png"}],
    }});
    let program = stage.program("shot", &format!("cat <<'END'\n{result}\nEND"));
    let tool = format!("screenshot={}", program.display());
    let _worker = stage.worker("w1", &["--tool", &tool]).await;
    let options = FleetOptions::new().tool(FleetTool::new("screenshot", "Takes a picture."));
    let (session, _fleet) = stage.session(&options).await;

    let answer = session.send("task look", None).await.expect("an answer");

    assert!(
        stage
            .model
            .offered("task look")
            .contains(&"screenshot".to_owned())
    );
    assert_eq!(stage.model.told("task look"), ["a picture"]);
    // The agent's client for this interface leaves images of tools out; that for others does not.
    let conversation = json!(answer.messages).to_string();
    assert!(conversation.contains(picture), "{conversation}");
    assert!(conversation.contains("image/png"), "{conversation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_read_is_in_the_conversation() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("read", json!({"file_path": "shot.png"})),
        _ => text("A dot."),
    })
    .await;
    stage.write("shot.png", b"\x89PNG\0\xff");
    let _worker = stage.worker("w1", &[]).await;
    let (session, _fleet) = stage.session(&FleetOptions::new()).await;

    let answer = session.send("task picture", None).await;

    let told = stage.model.told("task picture");
    assert_eq!(told, ["[Image: image/png (6 bytes)]"]);
    let conversation = json!(answer.expect("an answer").messages).to_string();
    assert!(conversation.contains("iVBORwD/"), "{conversation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_side_by_side_each_get_their_own_answers() {
    let stage = Stage::new(|prompt, turn| {
        let n = prompt.trim_start_matches("task session ");
        match turn {
            0 => call("read", json!({"file_path": format!("f{n}")})),
            1 => call("bash", json!({"command": format!("echo command {n}.")})),
            _ => text(&format!("answer {n}")),
        }
    })
    .await;
    for n in 0..50 {
        stage.write(&format!("f{n}"), format!("file {n}.\n"));
    }
    let _workers = (
        stage.worker("w1", &["-j", "4"]).await,
        stage.worker("w2", &["-j", "4"]).await,
    );
    let stage = Arc::new(stage);
    let mut sessions = JoinSet::new();
    for n in 0..50 {
        let stage = Arc::clone(&stage);
        sessions.spawn(async move {
            let (session, fleet) = stage.session(&FleetOptions::new()).await;
            let prompt = format!("task session {n}");
            let answer = session.send(&prompt, None).await.expect("an answer");
            let (told, stats) = (stage.model.told(&prompt), fleet.stats());
            fleet.close().await;
            (n, answer.text, told, stats)
        });
    }
    while let Some(ended) = sessions.join_next().await {
        let (n, answer, told, stats) = ended.expect("no session broke off");
        assert_eq!(answer, format!("answer {n}"));
        assert!(told[0].contains(&format!("file {n}.")), "{told:?}");
        assert!(told[1].contains(&format!("command {n}.")), "{told:?}");
        assert_eq!((stats.calls, stats.answered, stats.completed), (2, 2, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_host_run_side_by_side_without_a_model() {
    let stage = Stage::new(|_, _| Say::Text(String::new())).await;
    let _worker = stage.worker("w1", &["-j", "2"]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    // Each waits for the other's file: one after the other they would run into their time.
    let meet = |mine: &str, other: &str| {
        let wait = format!("touch {mine}; until [ -e {other} ]; do sleep 0.05; done; echo met");
        session.tool("bash", json!({ "command": wait }))
    };
    let (one, two) = tokio::join!(meet("a", "b"), meet("b", "a"));

    for result in [one.expect("a result"), two.expect("a result")] {
        assert_eq!((result.output.as_str(), result.exit_code), ("met\n", 0));
        let metadata = result.metadata.expect("who ran it");
        assert_eq!(metadata["fleet"]["worker_id"], "w1");
    }
    assert_eq!(fleet.stats().completed, 2);
}
