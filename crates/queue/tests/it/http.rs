//! The HTTP API of a real replica: every operation for every role, what is refused and how, and answers that say the same
//! as gRPC's.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mailtier_api::Role;
use mailtier_config::{Config, Secret};
use mailtier_testkit::postgres::TestDatabase;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::submitter::{CONTENT, Submitter};
use crate::system::{LIMIT, Replica, config, usual};
use crate::tokens::order;
use crate::worker::{Worker, all};

/// One that asks.
struct Client {
    address: SocketAddr,
    token: Option<String>,
}

/// What was answered.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A problem, and what it says.
    fn detail(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!(
            (problem["type"].as_str(), problem["status"].as_u64()),
            (Some("about:blank"), Some(self.status.into()))
        );
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Client {
    fn root(address: SocketAddr) -> Self {
        Self { address, token: Some("operators only".to_owned()) }
    }

    fn with(&self, token: Option<&str>) -> Self {
        Self { address: self.address, token: token.map(str::to_owned) }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let (kind, body) = match body {
            Some(body) => ("Content-Type: application/json\r\n", body.to_string()),
            None => ("", String::new()),
        };
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{token}{kind}Content-Length: {length}\r\n\r\n{body}"
        );
        let asking = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            reply
        };
        let reply = tokio::time::timeout(LIMIT, asking).await.expect("an answer");
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }
}

fn with_api(config: &mut Config) {
    config.queue.api_listen = Some("127.0.0.1:0".parse().unwrap());
}

async fn served() -> (TestDatabase, Replica, Client) {
    let (database, replica) = usual(with_api).await;
    let root = Client::root(replica.api.unwrap());
    (database, replica, root)
}

/// Every operation of the document, with a request that would be taken.
async fn operations(root: &Client) -> Vec<(String, String, Role, Option<Value>)> {
    let document = root.get("/v1/openapi.json").await.json();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let about = operation["description"].as_str().unwrap();
            let role = about.rsplit_once("Needs the role ").unwrap().1.trim_end_matches('.');
            let name = operation["operationId"].as_str().unwrap();
            let (values, body) = request(name);
            let path = values.iter().fold(path.clone(), |path, (from, to)| path.replace(from, to));
            let query = if name == "trace" { "?address=x@b.example" } else { "" };
            operations.push((method.to_uppercase(), format!("{path}{query}"), Role::parse(role).unwrap(), body));
        }
    }
    operations
}

type Values = &'static [(&'static str, &'static str)];

/// Values of the path, and the body. What is made is made by an admin alone, so once.
fn request(name: &str) -> (Values, Option<Value>) {
    match name {
        "showMessage" | "showContent" => (&[("{id}", "0003g9230vqvs")], None),
        "changeDeliveries" => (&[("{change}", "hold")], Some(json!({"messages": ["0003g9230vqvs"]}))),
        "putSuspension" => {
            (&[("{kind}", "destination"), ("{name}", "b.example")], Some(json!({"reason": "they asked"})))
        }
        "deleteSuspension" => (&[("{kind}", "destination"), ("{name}", "c.example")], None),
        "putSuppressions" => (&[("{tenant}", "7")], Some(json!({"addresses": ["a@b.example"]}))),
        "deleteSuppression" => (&[("{tenant}", "7"), ("{address}", "nobody%40b.example")], None),
        "createUser" => (&[], Some(json!({"name": "u@example.org", "password": "correct horse"}))),
        "changeUser" => (&[("{name}", "nobody@example.org")], Some(json!({"enabled": false}))),
        "deleteUser" => (&[("{name}", "nobody@example.org")], None),
        "putAddress" => (&[("{pattern}", "%40b.example")], Some(json!({"targets": []}))),
        "deleteAddress" => (&[("{pattern}", "%40c.example")], None),
        "createToken" => (&[], Some(json!({"name": "made", "role": "viewer"}))),
        "deleteToken" => (&[("{name}", "nobody")], None),
        _ => (&[], None),
    }
}

#[tokio::test]
async fn suppression_lists_are_managed_over_http() {
    let (_database, _replica, root) = served().await;
    let wanted = json!({"addresses": ["B@b.example", "a@b.example"], "reason": "they asked", "lasting_s": 3600});
    let put = root.ask("POST", "/v1/suppressions/7?operator=alice", Some(&wanted)).await;
    assert_eq!((put.status, put.json()["changed"].as_u64()), (200, Some(2)), "{}", put.body);
    let first = root.get("/v1/suppressions?tenant=7&limit=1").await.json();
    let one = &first["suppressions"][0];
    assert_eq!((one["address"].as_str(), one["operator"].as_str()), (Some("a@b.example"), Some("root (alice)")));
    assert_eq!((one["source"].as_str(), one["reason"].as_str()), (Some("operator"), Some("they asked")));
    let next = first["next"].as_str().unwrap();
    let second = root.get(&format!("/v1/suppressions?tenant=7&limit=1&after={next}")).await.json();
    assert_eq!(second["suppressions"][0]["address"].as_str(), Some("b@b.example"));
    let other = root.get("/v1/suppressions?tenant=8").await.json();
    assert!(other["suppressions"].as_array().unwrap().is_empty() && other["next"].is_null());
    assert_eq!(root.ask("DELETE", "/v1/suppressions/7/B%40B.example", None).await.status, 200);
    assert_eq!(root.ask("DELETE", "/v1/suppressions/7/b%40b.example", None).await.status, 404);
    for (body, told) in [
        (json!({"addresses": []}), "addresses: are missing"),
        (json!({"addresses": ["nobody"]}), "address: `nobody`"),
        (json!({"addresses": ["a@b.example"], "lasting_s": 0}), "lasting_s: expected 1 to"),
    ] {
        let refused = root.ask("POST", "/v1/suppressions/7", Some(&body)).await;
        assert!(refused.status == 400 && refused.detail().contains(told), "{body}: {}", refused.body);
    }
}

#[tokio::test]
async fn every_operation_of_the_document_is_answered_to_those_whose_role_may() {
    let (_database, replica, root) = served().await;
    let admin = replica.admin().await;
    let operations = operations(&root).await;
    assert!(operations.len() >= 20);
    for role in Role::ALL {
        let token = admin.create_token(order(role.word(), role)).await.unwrap();
        let client = root.with(Some(token.secret.expose()));
        let mut seen = BTreeSet::new();
        for (method, path, needed, body) in &operations {
            let answer = client.ask(method, path, body.as_ref()).await;
            let is_content = path.ends_with("/content");
            if role >= *needed && !(is_content && role < Role::Admin) {
                assert!([200, 201, 404].contains(&answer.status), "{role:?} {method} {path}: {}", answer.body);
                seen.insert(answer.status);
            } else {
                let detail = answer.detail();
                assert_eq!(answer.status, 403, "{role:?} {method} {path}: {detail}");
                let told = if is_content { "with --content" } else { needed.word() };
                assert!(detail.contains(told), "{detail}");
            }
        }
        assert!(seen.contains(&200));
    }
    for token in [None, Some("guessed"), Some("mt_bot_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), Some("")] {
        let stranger = root.with(token);
        for (method, path, _, body) in &operations {
            let answer = stranger.ask(method, path, body.as_ref()).await;
            assert_eq!(answer.status, 401, "{token:?} {method} {path}: {}", answer.body);
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        }
        for path in ["/", "/v1/nothing", "/healthz/live"] {
            assert_eq!(stranger.get(path).await.status, 401, "strangers learn of no path");
        }
    }
}

#[tokio::test]
async fn the_queue_is_seen_and_steered_over_http() {
    let (_database, replica, root) = served().await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example", "y@c.example"]).await;
    for _ in 0..2 {
        let dispatch = worker.dispatch().await;
        worker.report(all(&dispatch, 451)).await;
    }
    let first = root.get("/v1/deliveries?limit=1&state=deferred").await.json();
    let next = first["next"].as_str().unwrap();
    let second = root.get(&format!("/v1/deliveries?limit=1&after={next}")).await.json();
    let rest = second["next"].as_str().map(|next| format!("/v1/deliveries?after={next}"));
    if let Some(path) = rest {
        assert_eq!(root.get(&path).await.json()["deliveries"], json!([]));
    }
    let seen = [&first["deliveries"][0], &second["deliveries"][0]];
    for delivery in seen {
        assert_eq!(delivery["message"], json!(id.to_string()));
        assert!(delivery["last_outcome"]["reply"].as_str().unwrap().contains("451"), "{delivery}");
    }
    assert_ne!(seen[0]["destination"], seen[1]["destination"]);
    let one = root.get("/v1/deliveries?destination=c.example").await.json();
    assert_eq!(one["deliveries"][0]["recipients"], json!(["y@c.example"]));

    let shown = root.get(&format!("/v1/messages/{id}")).await.json();
    assert_eq!((shown["deliveries"].as_array().unwrap().len(), &shown["content"]), (2, &Value::Null));
    assert!(shown["headers"].as_str().unwrap().starts_with("Subject: a test\r\n"));
    let counted = root.get("/v1/deliveries/count?by=destination&state=deferred").await.json();
    assert_eq!((counted["groups"].as_array().unwrap().len(), &counted["next"]), (2, &Value::Null));
    assert_eq!(counted["groups"][0]["recipients"], json!(1));
    let content = root.get(&format!("/v1/messages/{id}/content")).await;
    assert_eq!(content.body.as_bytes(), CONTENT);
    assert!(content.head.contains("content-type: message/rfc822") && content.head.contains("nosniff"));
    let told = root.get("/v1/trace?address=x@b.example").await.json();
    assert_eq!((told["events"].as_array().unwrap().len(), &told["next_until"]), (2, &Value::Null));
    let status = root.get("/v1/status").await.json();
    assert_eq!((&status["shards"], &status["workers"][0]["name"]), (&json!(256), &json!("a test's")));
    let map = root.get("/v1/shards").await.json();
    assert_eq!(
        (&map["replicas"][0]["replica"], &map["shards"][255]["owner"]),
        (&status["replica"], &status["replica"])
    );

    let all = json!({"changed": 1, "matched": 1, "looked_at": 2, "next": null, "first": []});
    let retried = root.ask("POST", "/v1/deliveries/retry?destination=b.example&operator=alice", None).await;
    assert_eq!(retried.json(), all);
    assert_eq!(worker.dispatch().await.attempt, 2);
    let trial = json!({"dry_run": true, "show": 5, "hosts": ["relay.example:2525"]});
    let tried = root.ask("POST", "/v1/deliveries/route?recipient=@c.example", Some(&trial)).await.json();
    assert_eq!((&tried["changed"], &tried["first"][0]["recipients"]), (&json!(1), &json!(["y@c.example"])));
    let why = json!({"messages": [id.to_string()], "reason": "they asked"});
    let held = root.ask("POST", "/v1/deliveries/hold?recipient=@c.example&operator=alice", Some(&why)).await;
    assert_eq!(held.json()["changed"], json!(1));
    let seen = root.get("/v1/deliveries?state=held").await.json();
    assert_eq!(seen["deliveries"][0]["held"]["operator"], json!("root (alice)"));
    assert_eq!(seen["deliveries"][0]["held"]["reason"], json!("they asked"));
    let wanted = json!({"messages": [id.to_string()]});
    let deleted = root.ask("POST", "/v1/deliveries/delete?operator=alice", Some(&wanted)).await;
    assert_eq!(deleted.json()["changed"], json!(2));
    let told = root.get(&format!("/v1/trace?message={id}")).await.json();
    let last = told["events"].as_array().unwrap().last().unwrap();
    assert_eq!((last["kind"].as_str(), last["operator"].as_str()), (Some("removed"), Some("root (alice)")));
    assert_eq!(root.get(&format!("/v1/messages/{id}/content")).await.status, 404, "its content is gone");
}

#[tokio::test]
async fn what_is_managed_over_http_is_managed_for_all() {
    let (_database, replica, root) = served().await;
    let admin = replica.admin().await;
    let order = json!({"reason": "they asked", "lasting_s": 60});
    for name in ["b.example", "c.example"] {
        let put = root.ask("PUT", &format!("/v1/suspensions/destination/{name}?operator=alice"), Some(&order)).await;
        assert_eq!(put.json(), json!({"changed": 1}));
    }
    assert_eq!(admin.list_suspensions().await.unwrap().len(), 2);
    let page = root.get("/v1/suspensions?limit=1").await.json();
    let (one, next) = (&page["suspensions"][0], page["next"].as_str().unwrap());
    assert_eq!((one["name"].as_str(), one["operator"].as_str()), (Some("b.example"), Some("root (alice)")));
    let page = root.get(&format!("/v1/suspensions?after={next}")).await.json();
    assert_eq!((&page["suspensions"][0]["name"], &page["next"]), (&json!("c.example"), &Value::Null));
    let resumed = root.ask("DELETE", "/v1/suspensions/destination/b.example", None).await;
    assert_eq!(resumed.status, 200);
    let again = root.ask("DELETE", "/v1/suspensions/destination/b.example", None).await;
    assert_eq!((again.status, again.detail().contains("is not suspended")), (404, true));

    let user = json!({"name": "u@example.org", "password": "correct horse", "senders": ["*"]});
    assert_eq!(root.ask("POST", "/v1/users", Some(&user)).await.status, 201);
    let twice = root.ask("POST", "/v1/users", Some(&user)).await;
    assert!(twice.status == 400 && twice.detail().contains("exists already"));
    let change = json!({"enabled": false});
    assert_eq!(root.ask("PATCH", "/v1/users/u@example.org", Some(&change)).await.status, 200);
    let users = root.get("/v1/users").await.json();
    assert_eq!((&users["users"][0]["enabled"], &users["users"][0]["senders"]), (&json!(false), &json!(["*"])));
    assert_eq!(root.ask("DELETE", "/v1/users/u@example.org", None).await.status, 200);

    let targets = json!({"targets": ["a@example.net"]});
    assert_eq!(root.ask("PUT", "/v1/addresses/%40b.example", Some(&targets)).await.status, 200);
    assert_eq!(root.get("/v1/addresses").await.json()["addresses"][0]["targets"], json!(["a@example.net"]));
    assert_eq!(root.ask("DELETE", "/v1/addresses/@b.example", None).await.status, 200);

    let wanted = json!({"name": "ci-bot", "role": "viewer", "content": true, "lasting_s": 60});
    let made = root.ask("POST", "/v1/tokens", Some(&wanted)).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let bot = root.with(made["token"].as_str());
    assert_eq!(bot.get("/v1/deliveries").await.status, 200);
    let missing = bot.get("/v1/messages/0003g9230vqvs/content").await;
    assert_eq!(missing.status, 404, "it may read contents: {}", missing.body);
    let listed = root.get("/v1/tokens").await;
    assert!(!listed.body.contains(made["token"].as_str().unwrap()));
    assert_eq!(listed.json()["tokens"][0]["name"], json!("ci-bot"));
    assert_eq!(root.ask("DELETE", "/v1/tokens/ci-bot", None).await.status, 200);
    assert_eq!(bot.get("/v1/deliveries").await.status, 401, "revoked");
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_by_name() {
    let (_database, _replica, root) = served().await;
    let body = json!({"al": true});
    let all = json!({"all": true});
    let hosts = json!({"hosts": ["relay:port"]});
    let lasting = json!({"lasting_s": 0});
    for (method, path, body, status, told) in [
        ("GET", "/v1/deliveries?destinaton=x", None, 400, "did you mean `destination`?"),
        ("GET", "/v1/deliveries?limit=0", None, 400, "limit: `0`"),
        ("GET", "/v1/deliveries?after=%21", None, 400, "after: "),
        ("GET", "/v1/messages/nonsense", None, 400, "id: `nonsense`"),
        ("GET", "/v1/trace", None, 400, "message, address, message_id_field: give exactly one"),
        ("GET", "/v1/usrs", None, 404, "did you mean `/v1/users`?"),
        ("PUT", "/v1/users", None, 405, "GET, POST is"),
        ("HEAD", "/v1/users", None, 405, ""),
        ("HEAD", "/v1/usrs", None, 404, ""),
        ("POST", "/v1/deliveries/delete", Some(&body), 400, "al: is no field of the body"),
        ("POST", "/v1/deliveries/delete?destination=b.example", Some(&all), 400, "exactly one of them"),
        ("POST", "/v1/deliveries/route?destination=b.example", Some(&hosts), 400, "is not a host: expected host"),
        ("POST", "/v1/deliveries/hold?destination=b.example", Some(&hosts), 400, "hosts: to hold needs none"),
        ("POST", "/v1/deliveries/retri", Some(&all), 400, "did you mean `retry`?"),
        ("POST", "/v1/deliveries/delete", None, 400, "exactly one of them"),
        ("PUT", "/v1/suspensions/tenant/7", Some(&lasting), 400, "lasting_s: expected 1 to"),
        ("PUT", "/v1/suspensions/tenant/seven", None, 400, "tenant: `seven`"),
        ("PUT", "/v1/suspensions/provider/big", None, 400, "[[queue.providers]]"),
    ] {
        let answer = root.ask(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        if method != "HEAD" {
            assert!(answer.detail().contains(told), "{method} {path}: {}", answer.body);
        }
        assert!(answer.head.contains("x-request-id: ") && answer.head.contains("cache-control: no-store"));
    }
    for method in ["PUT", "HEAD"] {
        let allowed = root.ask(method, "/v1/users", None).await;
        assert!(allowed.head.contains("allow: get, post"), "{}", allowed.head);
    }
}

#[tokio::test]
async fn without_the_database_a_token_is_not_taken_for_a_wrong_one() {
    let (database, replica, root) = served().await;
    let token = replica.admin().await.create_token(order("bot", Role::Viewer)).await.unwrap();
    let bot = root.with(Some(token.secret.expose()));
    database.sql("ALTER TABLE token RENAME TO unreadable").await.unwrap();
    let refused = bot.get("/v1/suspensions").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.detail().contains("looked up") && refused.head.contains("retry-after: "));
    database.sql("ALTER TABLE unreadable RENAME TO token").await.unwrap();
    assert_eq!(bot.get("/v1/suspensions").await.status, 200);
}

#[tokio::test]
async fn others_can_reach_the_api_only_where_there_is_a_token() {
    let database = TestDatabase::migrated().await.unwrap();
    let mut config = config(&database);
    config.queue.api_listen = Some("0.0.0.0:0".parse().unwrap());
    config.cluster.admin_secret = None;
    let start = |config: Config| async {
        let context = mailtier_service::Context::new(std::sync::Arc::new(config));
        let shutdown = context.shutdown.clone();
        let started = mailtier_queue::start(context).await;
        if let Ok(running) = started {
            shutdown.cancel();
            running.finished.await.unwrap().unwrap();
            return Ok(running.addresses.len());
        }
        started.map(|_| 0)
    };
    let refused = start(config.clone()).await.unwrap_err();
    let told = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
    assert!(told.contains("queue.api_listen") && told.contains("cluster.admin_secret_file"), "{refused}: {told}");
    config.cluster.admin_secret = Some(Secret::new("somebody's".into()));
    assert_eq!(start(config.clone()).await.unwrap(), 2);
    config.cluster.admin_secret = None;
    let made = "INSERT INTO token VALUES ('bot', 'admin', false, sha256('x'), 'tests', now())";
    database.sql(made).await.unwrap();
    assert_eq!(start(config).await.unwrap(), 2, "there is a token now");
}
