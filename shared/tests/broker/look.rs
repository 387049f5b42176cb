//! Looking asks again: an answer may be lost with a server on its way.

use a3s_shared::broker::Seen;
use futures::StreamExt;
use serde_json::{Value, json};

use super::connect;
use a3s_testkit::Server;

#[tokio::test]
async fn a_question_whose_answer_was_lost_is_asked_again() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let client = server.client().await;
    let mut questions = client.subscribe("who.is.there").await.expect("heard");
    client.flush().await.expect("the server has it");
    let answer = async {
        questions.next().await.expect("the first question");
        let second = questions.next().await.expect("the second question");
        let reply = second.reply.expect("it wants an answer");
        let body = json!({"name": "somebody"}).to_string();
        client.publish(reply, body.into()).await.expect("published");
        client.flush().await.expect("the server has it");
    };
    let (seen, ()) = tokio::join!(broker.look_at::<Value>("who", "who.is.there"), answer);
    match seen.expect("an answer") {
        Seen::There(seen) => assert_eq!(seen["name"], "somebody"),
        other => panic!("{other:?}"),
    }
}
