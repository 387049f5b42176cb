//! Looking asks again: an answer may be lost with a server on its way.

use std::time::Duration;

use a3s_shared::broker::Seen;
use futures::{StreamExt, future};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::connect;
use a3s_testkit::Server;

/// Far more than two questions take; a question too few fails here instead of waiting for ever.
const WAIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_question_whose_answer_was_lost_is_asked_again() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    // On the connection that asks, so the server has the subscription before the first question.
    let client = broker.client();
    let mut questions = client.subscribe("who.is.there").await.expect("heard");
    let answer = async {
        questions.next().await.expect("the first question");
        let second = questions.next().await.expect("the second question");
        let reply = second.reply.expect("it wants an answer");
        let body = json!({"name": "somebody"}).to_string();
        client.publish(reply, body.into()).await.expect("published");
    };
    let both = future::join(broker.look_at::<Value>("who", "who.is.there"), answer);
    let (seen, ()) = timeout(WAIT, both)
        .await
        .expect("asked twice, answered once");
    match seen.expect("an answer") {
        Seen::There(seen) => assert_eq!(seen["name"], "somebody"),
        other => panic!("{other:?}"),
    }
}
