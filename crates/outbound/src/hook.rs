//! A web server that messages are posted to (inbound parse). Responsible for the request and for what the answer means.
//! Not responsible for when it is made.
//!
//! The body is the message as it is, `message/rfc822`; the envelope is in header fields. docs/delivery.md has the form.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use bytes::Bytes;
use futures_util::stream;
use mailtier_config::RouteHook;
use mailtier_types::text::Chain;
use mailtier_types::{Cause, EnhancedCode, Mailbox, Reply, Stage, Trouble, TroubleKind};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

/// What is read of an answer, in octets: it goes into events and notifications.
const MAX_ANSWER_OCTETS: usize = 512;
/// Connections that idle are let go after this.
const IDLE: Duration = Duration::from_secs(30);

const SENDER: HeaderName = HeaderName::from_static("mailtier-sender");
const RECIPIENT: HeaderName = HeaderName::from_static("mailtier-recipient");
const MESSAGE: HeaderName = HeaderName::from_static("mailtier-message");
const ATTEMPT: HeaderName = HeaderName::from_static("mailtier-attempt");
const TENANT: HeaderName = HeaderName::from_static("mailtier-tenant");
const TIMESTAMP: HeaderName = HeaderName::from_static("mailtier-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("mailtier-signature");

/// Why nothing can be posted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    /// TLS, or the name servers.
    #[error("posting over HTTP cannot be set up")]
    Client(#[source] reqwest::Error),
    /// It passed the configuration's own look at it.
    #[error("the URL {url:?} of a route cannot be used: {reason}")]
    Url {
        /// As it is written.
        url: String,
        /// Why.
        reason: String,
    },
}

/// Where a route posts.
#[derive(Debug)]
pub(crate) struct Hook {
    client: Client,
    url: Url,
    token: Option<HeaderValue>,
    key: Option<hmac::Key>,
    timeout: Duration,
}

/// What is posted.
pub(crate) struct Post<'a> {
    /// Empty: the null one.
    pub(crate) sender: &'a str,
    pub(crate) recipients: &'a [Mailbox],
    /// The same in every attempt.
    pub(crate) message: String,
    pub(crate) attempt: u16,
    pub(crate) tenant: i32,
    pub(crate) content: &'a [Bytes],
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) stage: Stage,
    pub(crate) cause: Cause,
    pub(crate) retry_after: Option<Duration>,
}

impl Hook {
    /// Those of all routes, by number.
    pub(crate) fn all(configured: Vec<Option<RouteHook>>) -> Result<Vec<Option<Self>>, HookError> {
        let Some(_) = configured.iter().flatten().next() else { return Ok(Vec::new()) };
        // Who answers with a redirect could send our mail, and our token, anywhere, also into our own networks.
        let client = Client::builder().redirect(Policy::none()).pool_idle_timeout(IDLE).build();
        let client = client.map_err(HookError::Client)?;
        configured.into_iter().map(|one| one.map(|one| Self::new(client.clone(), one)).transpose()).collect()
    }

    fn new(client: Client, configured: RouteHook) -> Result<Self, HookError> {
        let wrong = |reason: String| HookError::Url { url: configured.url.clone(), reason };
        let url = Url::parse(&configured.url).map_err(|error| wrong(error.to_string()))?;
        let token = configured.token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| wrong("its token cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let key = configured.signing_key.as_ref();
        Ok(Self {
            client,
            url,
            token: token.transpose()?,
            key: key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())),
            timeout: configured.timeout,
        })
    }

    /// The server's name.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether nobody on the way reads what is posted.
    pub(crate) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Posts a message. It takes no longer than the route says.
    pub(crate) async fn post(&self, post: &Post<'_>) -> Answered {
        let headers = match self.headers(post) {
            Ok(headers) => headers,
            Err(error) => return trouble(Stage::Mail, TroubleKind::Local, error.to_string()),
        };
        let chunks: Vec<Result<Bytes, std::io::Error>> = post.content.iter().cloned().map(Ok).collect();
        let body = reqwest::Body::wrap_stream(stream::iter(chunks));
        let request = self.client.post(self.url.clone()).headers(headers).body(body).timeout(self.timeout);
        match request.send().await {
            Ok(response) => answered(response).await,
            Err(error) => failed(error),
        }
    }

    fn headers(&self, post: &Post<'_>) -> Result<HeaderMap, reqwest::header::InvalidHeaderValue> {
        let mut headers = HeaderMap::new();
        let octets: usize = post.content.iter().map(Bytes::len).sum();
        let sender = if post.sender.is_empty() { "<>" } else { post.sender };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("message/rfc822"));
        headers.insert(CONTENT_LENGTH, octets.into());
        headers.insert(SENDER, HeaderValue::from_bytes(sender.as_bytes())?);
        for recipient in post.recipients {
            headers.append(RECIPIENT, HeaderValue::from_bytes(recipient.as_str().as_bytes())?);
        }
        headers.insert(MESSAGE, HeaderValue::from_str(&post.message)?);
        headers.insert(ATTEMPT, post.attempt.into());
        headers.insert(TENANT, post.tenant.into());
        headers.insert(TIMESTAMP, now.into());
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(key) = &self.key {
            headers.insert(SIGNATURE, HeaderValue::from_str(&signature(key, now, sender, post))?);
        }
        Ok(headers)
    }
}

/// `v1=` and the HMAC of a line each for time, message, sender and recipients, an empty one, and the body.
fn signature(key: &hmac::Key, now: u64, sender: &str, post: &Post<'_>) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{now}\n{}\n{sender}\n", post.message).as_bytes());
    for recipient in post.recipients {
        context.update(recipient.as_str().as_bytes());
        context.update(b"\n");
    }
    context.update(b"\n");
    post.content.iter().for_each(|chunk| context.update(chunk));
    let tag = context.sign();
    tag.as_ref().iter().fold("v1=".to_owned(), |text, octet| text + &format!("{octet:02x}"))
}

/// What a status means, with what the server says to it.
async fn answered(mut response: Response) -> Answered {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| wait_of(value.to_str().ok()?));
    let mut said = Vec::new();
    while said.len() < MAX_ANSWER_OCTETS {
        match response.chunk().await {
            Ok(Some(chunk)) => said.extend_from_slice(chunk.get(..MAX_ANSWER_OCTETS - said.len()).unwrap_or(&chunk)),
            Ok(None) | Err(_) => break,
        }
    }
    Answered { retry_after, ..meaning(status, &String::from_utf8_lossy(&said)) }
}

/// RFC 9110 §15.
fn meaning(status: StatusCode, said: &str) -> Answered {
    let line = said.lines().next().unwrap_or_default().trim();
    let separator = if line.is_empty() { "" } else { ": " };
    let text = format!("HTTP {status}{separator}{}", line.replace(char::is_control, " "));
    let code = EnhancedCode::new;
    let (reply, enhanced) = match status.as_u16() {
        200..=299 => (250, code(2, 0, 0)),
        300..=399 => {
            return trouble(Stage::Final, TroubleKind::Protocol, format!("{text} (posts follow no redirects)"));
        }
        // Our token is not right: ours to mend, and no reason to give up anybody's mail.
        401 | 407 => return trouble(Stage::Final, TroubleKind::Login, text),
        429 => (421, code(4, 4, 5)),
        408 | 425 | 500..=599 => (451, code(4, 3, 0)),
        413 => (552, code(5, 3, 4)),
        _ => (554, code(5, 3, 0)),
    };
    Answered {
        stage: Stage::Final,
        cause: Cause::Reply(Reply::received(reply, Some(enhanced), text)),
        retry_after: None,
    }
}

/// No answer.
fn failed(error: reqwest::Error) -> Answered {
    let error = error.without_url();
    // A server that was reached may have the post, whole or in part.
    let (stage, kind) = match error.is_connect() {
        true => (Stage::Connect, TroubleKind::Connect),
        false => (Stage::Final, TroubleKind::Unanswered),
    };
    trouble(stage, kind, Chain(&error).to_string())
}

fn trouble(stage: Stage, kind: TroubleKind, text: String) -> Answered {
    Answered { stage, cause: Cause::Trouble(Trouble { kind, text }), retry_after: None }
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn wait_of(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value.trim()).ok()?.duration_since(SystemTime::now()).ok()
}
