//! Reports of TLS, posted over HTTPS to where a domain wants them (RFC 8460 §5.4). Not responsible for what they say, nor for
//! when one is tried again.

use std::path::Path;
use std::time::Duration;

use mailtier_types::text::Chain;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use crate::https::Https;

/// For all of a post.
const POST_TIMEOUT: Duration = Duration::from_secs(60);

/// Posts reports. Cheap to clone.
#[derive(Clone)]
pub struct ReportPoster {
    https: Https,
    client: reqwest::Client,
}

impl ReportPoster {
    pub(crate) fn new(https: Https, roots: Option<&Path>) -> Result<Self, String> {
        Ok(Self { client: https.client(POST_TIMEOUT, roots)?, https })
    }

    /// Posts a report, packed with gzip.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn post(&self, uri: &str, packed: Vec<u8>) -> Result<(), String> {
        let url: Url = uri.parse().map_err(|error| format!("this is no URL: {error}"))?;
        self.https.judge(&url)?;
        let request = self.client.post(url).header(CONTENT_TYPE, "application/tlsrpt+gzip").body(packed);
        let response = request.send().await.map_err(|error| Chain(&error).to_string())?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the server answered {}", status.as_u16())),
        }
    }
}
