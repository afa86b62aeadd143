//! What is asked, taken apart and judged by the table: which operation, which parameters, which body. Pure.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use mailtier_config::expected;
use mailtier_types::Timestamp;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tonic::codegen::http::{HeaderMap, StatusCode, Uri, header};

use super::problem::Problem;
use super::table::{Kind, OPERATIONS, Operation, Parameter, Place};
use crate::admin::MAX_ROWS;
use crate::json::moment;

/// The rows of a page whose length nobody has said.
const USUAL_ROWS: u32 = 100;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Ask {
    values: Values,
    body: Bytes,
    fields: &'static [&'static str],
}

/// Parameters with their values.
type Values = Vec<(&'static str, String)>;

/// Which operation is meant, and the values in its path.
pub(crate) fn route(method: &str, uri: &Uri) -> Result<(&'static Operation, Values), Problem> {
    let mut others = Vec::new();
    for operation in OPERATIONS {
        let Some(values) = path_values(operation.path, uri.path()) else { continue };
        if operation.method == method {
            return Ok((operation, values?));
        }
        others.push(operation.method);
    }
    if others.is_empty() {
        let mut paths: Vec<&str> = OPERATIONS.iter().map(|operation| operation.path).collect();
        paths.dedup();
        let advice = expected(uri.path(), &paths);
        return Err(Problem::not_found(format!(
            "there is no such path: {advice}; GET /v1/openapi.json tells them all"
        )));
    }
    let allow = others.join(", ");
    let detail = format!("{method} is not for this path: {allow} is");
    Err(Problem { allow: Some(allow), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) })
}

/// The values of `{…}` in a pattern, if the path is of its form.
fn path_values(pattern: &'static str, path: &str) -> Option<Result<Values, Problem>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut values = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(values.into_iter().collect()),
            (Some(part), Some(value)) => match part.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(_) if value.is_empty() => return None,
                Some(name) => values.push(
                    decode(value, false)
                        .map(|value| (name, value))
                        .ok_or_else(|| Problem::bad(name, "is not UTF-8 in percent-encoding (RFC 3986)")),
                ),
                None if part == value => {}
                None => return None,
            },
            _ => return None,
        }
    }
}

/// RFC 3986 §2.1; in a query `+` is a space, as browsers write it.
fn decode(text: &str, is_query: bool) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if is_query => b' ',
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

impl Ask {
    /// Judges what is asked of an operation.
    pub(crate) fn parse(
        operation: &'static Operation,
        mut values: Values,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, Problem> {
        for (name, value) in &values {
            let parameter = operation.parameters().find(|parameter| parameter.name == *name);
            parameter.map_or(Ok(()), |parameter| judge(parameter, value))?;
        }
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, true).unwrap_or_else(|| name.to_owned());
            let parameter = known(operation, &name)?;
            let value = decode(value, true);
            let value = value.ok_or_else(|| Problem::bad(parameter.name, "is not UTF-8 in percent-encoding"))?;
            if values.iter().any(|(before, _)| *before == parameter.name) {
                return Err(Problem::bad(parameter.name, "is given twice"));
            }
            // Whoever leaves a value empty, as a script does whose variable is not set, does not mean everything.
            if value.is_empty() && parameter.name != "after" {
                return Err(Problem::bad(parameter.name, "is empty: leave it out, or say what is meant"));
            }
            judge(parameter, &value)?;
            values.push((parameter.name, value));
        }
        let fields = operation.body.as_ref().map(|body| body.fields);
        match fields {
            None if !body.is_empty() => return Err(Problem::new(StatusCode::BAD_REQUEST, "no body is expected here")),
            Some(_) if !body.is_empty() && !is_json(headers) => {
                let detail = "the body must be JSON: say `Content-Type: application/json`";
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
            }
            _ => {}
        }
        Ok(Self { values, body, fields: fields.unwrap_or_default() })
    }

    /// A value that may be absent; an empty one is none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A value of the path, which is always there.
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, Problem> {
        self.text(name).ok_or_else(|| Problem::bad(name, "is missing"))
    }

    /// A number that is one of its kind.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| text.parse().map_err(|_| Problem::bad(name, format!("`{text}` is too large")));
        self.text(name).map(parse).transpose()
    }

    pub(crate) fn limit(&self) -> u32 {
        self.text("limit").and_then(|text| text.parse().ok()).unwrap_or(USUAL_ROWS)
    }

    pub(crate) fn time(&self, name: &str) -> Option<Timestamp> {
        self.text(name).and_then(moment)
    }

    /// The body; an empty one is an object without fields.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let text = if self.body.is_empty() { b"{}" } else { self.body.as_ref() };
        let bad = |error: serde_json::Error| Problem::new(StatusCode::BAD_REQUEST, format!("the body: {error}"));
        let Fields(fields) = serde_json::from_slice(text).map_err(bad)?;
        if let Some(name) = fields.keys().find(|name| !self.fields.contains(&name.as_str())) {
            return Err(Problem::bad(name, format!("is no field of the body: {}", expected(name, self.fields))));
        }
        serde_json::from_value(serde_json::Value::Object(fields)).map_err(bad)
    }
}

/// An object of which every field is given once: of two values nobody knows which is meant.
struct Fields(serde_json::Map<String, serde_json::Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldByField)
    }
}

struct FieldByField;

impl<'de> Visitor<'de> for FieldByField {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format_args!("`{name}` is given twice")));
            }
            fields.insert(name, value);
        }
        Ok(Fields(fields))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn known(operation: &'static Operation, name: &str) -> Result<&'static Parameter, Problem> {
    let mut of_query = operation.parameters().filter(|parameter| parameter.place == Place::Query);
    if let Some(found) = of_query.clone().find(|parameter| parameter.name == name) {
        return Ok(found);
    }
    let names: Vec<&str> = of_query.by_ref().map(|parameter| parameter.name).collect();
    let advice = if names.is_empty() { "there are none here".to_owned() } else { expected(name, &names) };
    Err(Problem::bad(&name.escape_debug().to_string(), format!("is no parameter: {advice}")))
}

fn judge(parameter: &Parameter, value: &str) -> Result<(), Problem> {
    let wrong = |reason: String| Err(Problem::bad(parameter.name, format!("`{}`: {reason}", value.escape_debug())));
    match parameter.kind {
        Kind::Text => Ok(()),
        Kind::Number if value.bytes().all(|octet| octet.is_ascii_digit()) => Ok(()),
        Kind::Number => wrong("expected a whole number".to_owned()),
        Kind::Limit if value.parse::<u32>().is_ok_and(|limit| (1..=MAX_ROWS).contains(&limit)) => Ok(()),
        Kind::Limit => wrong(format!("expected a number from 1 to {MAX_ROWS}")),
        Kind::Time if moment(value).is_some() => Ok(()),
        Kind::Time => wrong("expected a time such as 2027-01-15T08:00:00Z".to_owned()),
        Kind::Word(words) if words.contains(&value) => Ok(()),
        Kind::Word(words) => wrong(expected(value, words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Change;
    use crate::rest::table::Op;

    fn asked(method: &str, uri: &str, body: &'static str) -> Result<(Op, Ask), String> {
        let uri: Uri = uri.parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        let parse = || {
            let (operation, values) = route(method, &uri)?;
            Ok((operation.op, Ask::parse(operation, values, &uri, &headers, Bytes::from_static(body.as_bytes()))?))
        };
        parse().map_err(|problem: Problem| format!("{} {}", problem.status.as_u16(), problem.detail))
    }

    #[test]
    fn paths_and_parameters_are_taken_apart() {
        let (op, ask) = asked("GET", "/v1/deliveries?sender=a%2Bb%40c.example&min_attempts=2&limit=7", "").unwrap();
        assert_eq!(
            (op, ask.text("sender"), ask.number("min_attempts").unwrap(), ask.limit()),
            (Op::ListDeliveries, Some("a+b@c.example"), Some(2_u16), 7)
        );
        let (op, ask) = asked("DELETE", "/v1/addresses/%40b%C3%BCcher.example?operator=al+ice", "").unwrap();
        assert_eq!(
            (op, ask.text("pattern"), ask.text("operator")),
            (Op::DeleteAddress, Some("@bücher.example"), Some("al ice"))
        );
        let (_, ask) = asked("GET", "/v1/trace?since=2027-01-15T09:00:00%2B01:00", "").unwrap();
        assert_eq!((ask.time("since"), ask.limit()), (Some(Timestamp::from_secs(1_800_000_000)), 100));
        let (op, ask) = asked("POST", "/v1/deliveries/retry", "{\"all\": true}").unwrap();
        assert_eq!((op, ask.body::<Change>().unwrap().all), (Op::ChangeDeliveries, Some(true)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name_with_what_was_probably_meant() {
        for (method, uri, body, told) in [
            ("GET", "/v1/deliverys", "", "404 there is no such path"),
            ("GET", "/v1/deliverys", "", "did you mean `/v1/deliveries`?"),
            ("PUT", "/v1/deliveries", "", "405 PUT is not for this path: GET is"),
            ("GET", "/v1/messages/", "", "404 there is no such path"),
            ("GET", "/v1/messages/%FF", "", "400 id: is not UTF-8"),
            ("GET", "/v1/deliveries?sendr=x", "", "did you mean `sender`?"),
            ("GET", "/v1/messages/x?after=y", "", "400 after: is no parameter: there are none here"),
            ("GET", "/v1/deliveries?limit=5000", "", "400 limit: `5000`: expected a number from 1 to 1000"),
            ("GET", "/v1/deliveries?tenant=seven", "", "400 tenant: `seven`: expected a whole number"),
            ("GET", "/v1/deliveries?limit=1&limit=2", "", "400 limit: is given twice"),
            ("GET", "/v1/trace?since=yesterday", "", "400 since: `yesterday`: expected a time such as"),
            ("DELETE", "/v1/suspensions/domain/x", "", "400 kind: `domain`: expected `destination`"),
            ("DELETE", "/v1/tokens/x", "{}", "400 no body is expected here"),
        ] {
            let refused = asked(method, uri, body).unwrap_err();
            assert!(refused.contains(told), "{method} {uri}: {refused}");
        }
        let of_body = |body| {
            let (_, ask) = asked("POST", "/v1/deliveries/delete", body).unwrap();
            ask.body::<Change>().map(|_| ()).map_err(|problem| problem.detail)
        };
        assert!(of_body("{\"mesages\": []}").unwrap_err().contains("did you mean `messages`?"));
        assert!(of_body("{\"all\": 1}").unwrap_err().contains("expected a boolean"));
        assert!(of_body("all").unwrap_err().starts_with("the body: "));
        assert!(of_body("[]").unwrap_err().contains("expected an object"));
        assert!(of_body("{\"dry_run\": true, \"dry_run\": false}").unwrap_err().contains("`dry_run` is given twice"));
        assert!(of_body("").is_ok());
    }
}
