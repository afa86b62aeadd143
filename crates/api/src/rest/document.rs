//! The OpenAPI document, written from the table of operations and the schemas of what they take and give.

use serde_json::{Map, Value, json};

use super::table::{Answered, Kind, OPERATIONS, Operation, Parameter, Place};
use crate::admin::MAX_ROWS;
use crate::json::shape::Schemas;

const ABOUT: &str = "Operates the queue of Mailtier. Every request shows a token, and each operation says which role that \
                     must have. Any replica answers for the whole installation. Times are RFC 3339 in UTC. Lists come in \
                     pages: while `next` is not null, ask again with it as `after`. Parameters and fields that are not \
                     known are refused.";

/// The document (OpenAPI 3.1), as it is served at `/v1/openapi.json`.
#[must_use]
pub fn openapi_document() -> String {
    let mut text = format!("{:#}", document());
    text.push('\n');
    text
}

fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let described = described(operation, &mut schemas);
        let entry = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = entry {
            methods.insert(operation.method.to_ascii_lowercase(), described);
        }
    }
    let mut schemas: Map<String, Value> = schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mailtier",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "A token made with `mailtier token create`, or that of the configuration.",
            }},
            "schemas": schemas,
        },
    })
}

fn described(operation: &Operation, schemas: &mut Schemas) -> Value {
    let content = match operation.answer {
        Answered::Json(schema) => json!({"application/json": {"schema": schema(schemas)}}),
        Answered::Message => json!({"message/rfc822": {"schema": {"type": "string"}}}),
        Answered::Document => json!({"application/json": {"schema": {"type": "object"}}}),
    };
    let mut name = format!("{:?}", operation.op);
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let mut value = json!({
        "operationId": name,
        "summary": operation.about.split(". ").next().unwrap_or_default().trim_end_matches('.'),
        "description": format!("{} Needs the role {}.", operation.about, operation.needs().word()),
        "parameters": operation.parameters().map(parameter).collect::<Vec<_>>(),
        "responses": {
            operation.status.to_string(): {"description": "Done.", "content": content},
            "default": {
                "description": "Not done: 400 a value cannot be taken, 401 no token that is known, 403 its role may not, \
                                404 not there, 503 try again.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    });
    if let (Some(body), Value::Object(fields)) = (&operation.body, &mut value) {
        let content = json!({"application/json": {"schema": (body.schema)(schemas)}});
        fields.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    value
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Number => json!({"type": "integer", "minimum": 0}),
        Kind::Limit => json!({"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": 100}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
    };
    let (place, is_required) = match parameter.place {
        Place::Path => ("path", true),
        Place::Query => ("query", false),
    };
    let about = parameter.about;
    json!({"name": parameter.name, "in": place, "required": is_required, "description": about, "schema": schema})
}

/// RFC 9457.
fn problem() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    json!({
        "type": "object",
        "description": "What is wrong, and how to mend it (RFC 9457).",
        "properties": {
            "type": text("Always `about:blank`: the status says which kind it is."),
            "title": text("The status in words."),
            "status": {"type": "integer", "description": "The status."},
            "detail": text("What is wrong, and how to mend it."),
            "request_id": text("Names the request in logs; as the header X-Request-Id."),
        },
        "required": ["type", "title", "status", "detail"],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_whole() {
        let document: Value = serde_json::from_str(&openapi_document()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 30);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.get(name).is_some_and(Value::is_object), "{reference}");
        }
        for (name, schema) in schemas {
            let properties = schema["properties"].as_object().unwrap();
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(properties.contains_key(required.as_str().unwrap()), "{name}: {required}");
            }
            for (field, property) in properties {
                assert!(property["description"].is_string(), "{name}.{field} says what it means");
            }
        }
    }

    #[test]
    fn every_operation_is_described_once() {
        let document = document();
        let (mut names, mut count) = (HashSet::new(), 0);
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                count += 1;
                assert!(names.insert(operation["operationId"].clone()), "{path} {method}");
                let parameters = operation["parameters"].as_array().unwrap();
                let in_path: Vec<_> = parameters.iter().filter(|one| one["in"] == "path").collect();
                assert_eq!(in_path.len(), path.matches('{').count(), "{path}");
                for parameter in in_path {
                    assert!(path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap())), "{path}");
                }
                for (status, response) in operation["responses"].as_object().unwrap() {
                    assert!(response["description"].is_string() && response["content"].is_object(), "{path} {status}");
                }
                assert!(operation["description"].as_str().unwrap().contains("Needs the role"), "{path}");
            }
        }
        assert_eq!(count, OPERATIONS.len(), "no two have the same method and path");
        assert_eq!(document["paths"]["/v1/tokens"]["post"]["operationId"], "createToken");
    }
}
