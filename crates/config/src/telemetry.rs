//! What the collector of telemetry wants with each request. Not responsible for sending it.

use crate::load::secret;
use crate::{ConfigError, Secret, TelemetryConfig};

const KEY: &str = "telemetry.otlp_headers";
const FILE_KEY: &str = "telemetry.otlp_headers_file";

impl TelemetryConfig {
    /// The headers that go with each request: their names in lower case, and their values.
    ///
    /// # Errors
    /// [`ConfigError`] names the key; never the text, which is secret.
    pub fn headers(&self) -> Result<Vec<(String, Secret)>, ConfigError> {
        let text = secret(KEY, self.otlp_headers.as_ref(), FILE_KEY, self.otlp_headers_file.as_ref())?;
        let key = if self.otlp_headers_file.is_some() { FILE_KEY } else { KEY };
        let Some(text) = text else { return Ok(Vec::new()) };
        text.expose().split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| header(key, part)).collect()
    }
}

fn header(key: &str, part: &str) -> Result<(String, Secret), ConfigError> {
    let bad = |problem: &str| ConfigError::bad(key, format!("{problem}; expected name=value, with commas between"));
    let (name, value) = part.split_once('=').ok_or_else(|| bad("has a part without `=`"))?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    // RFC 9110 §5.6.2, without what gRPC keeps for itself: names that end in `-bin` have binary values.
    let is_token = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    if name.is_empty() || !name.bytes().all(is_token) || name.ends_with("-bin") || name.starts_with("grpc-") {
        return Err(bad("has a name that no header of gRPC can have"));
    }
    if value.is_empty() || !value.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return Err(bad(&format!("has no value for `{name}` that can be sent: it must be printable ASCII")));
    }
    Ok((name, Secret::new(value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> Result<Vec<(String, String)>, String> {
        let config = TelemetryConfig { otlp_headers: Some(Secret::new(text.to_owned())), ..TelemetryConfig::default() };
        let headers = config.headers().map_err(|error| error.to_string())?;
        Ok(headers.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect())
    }

    #[test]
    fn headers_are_names_and_values() {
        assert_eq!(TelemetryConfig::default().headers().unwrap().len(), 0);
        let read = headers("Authorization=Bearer a=b==, x-scope-orgid = mail ,").unwrap();
        let expected = [("authorization", "Bearer a=b=="), ("x-scope-orgid", "mail")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_not_repeated() {
        for text in ["s3cret", "=s3cret", "x=", "a b=s3cret", "x-bin=s3cret", "grpc-x=s3cret", "x=s3\ncr", "x=s3crét"]
        {
            let error = headers(text).unwrap_err();
            assert!(error.contains("telemetry.otlp_headers") && error.contains("name=value"), "{error}");
            assert!(!error.contains("s3cr"), "{error}");
        }
    }
}
