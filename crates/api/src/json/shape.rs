//! The macro that defines a JSON object once: as a struct that is written or read, and as a schema for the OpenAPI
//! document. What is written here cannot drift apart.

use std::collections::BTreeMap;

use mailtier_config::Secret;
use serde_json::{Map, Value, json};

/// Schemas by name.
pub(crate) type Schemas = BTreeMap<&'static str, Value>;

/// What has a schema (JSON Schema 2020-12, as OpenAPI 3.1 has it).
pub(crate) trait Described {
    /// The schema; those it refers to are added.
    fn schema(schemas: &mut Schemas) -> Value;

    /// Whether it may be absent where it is read.
    const MAY_BE_ABSENT: bool = false;
}

macro_rules! plain {
    ($($type:ty => $schema:tt;)*) => {
        $(impl Described for $type {
            fn schema(_: &mut Schemas) -> Value {
                json!($schema)
            }
        })*
    };
}

plain! {
    String => {"type": "string"};
    Secret => {"type": "string", "format": "password"};
    bool => {"type": "boolean"};
    u8 => {"type": "integer", "minimum": 0};
    u16 => {"type": "integer", "minimum": 0};
    u32 => {"type": "integer", "minimum": 0};
    u64 => {"type": "integer", "minimum": 0};
    i16 => {"type": "integer"};
    i32 => {"type": "integer"};
    i64 => {"type": "integer"};
}

impl<T: Described> Described for Vec<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({"type": "array", "items": T::schema(schemas)})
    }
}

impl<T: Described> Described for Option<T> {
    const MAY_BE_ABSENT: bool = true;

    fn schema(schemas: &mut Schemas) -> Value {
        match T::schema(schemas) {
            Value::Object(mut schema) if schema.contains_key("type") => {
                let kind = schema.remove("type");
                schema.insert("type".to_owned(), json!([kind, "null"]));
                Value::Object(schema)
            }
            other => json!({"anyOf": [other, {"type": "null"}]}),
        }
    }
}

/// A field of an object.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) lines: &'static [&'static str],
    pub(crate) schema: fn(&mut Schemas) -> Value,
    pub(crate) is_required: bool,
}

/// The schema of an object under its name, to be referred to.
pub(crate) fn object(schemas: &mut Schemas, name: &'static str, lines: &[&str], fields: &[Field]) -> Value {
    if !schemas.contains_key(name) {
        // So that what refers to itself ends.
        schemas.insert(name, Value::Null);
        let mut properties = Map::new();
        for field in fields {
            let mut schema = (field.schema)(schemas);
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), json!(joined(field.lines)));
            }
            properties.insert(field.name.to_owned(), schema);
        }
        let required: Vec<&str> = fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
        let mut schema = json!({"type": "object", "description": joined(lines), "properties": properties});
        if let (Value::Object(schema), false) = (&mut schema, required.is_empty()) {
            schema.insert("required".to_owned(), json!(required));
        }
        schemas.insert(name, schema);
    }
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Defines objects: `answer` is written, `request` is read, and then an unknown field is refused.
macro_rules! shape {
    (@derive answer $(#[$meta:meta])* pub struct $name:ident $body:tt) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name $body
    };
    (@derive request $(#[$meta:meta])* pub struct $name:ident $body:tt) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name $body
    };
    // What is left out when there is nothing to say has `skip_serializing_if`.
    (@required answer $type:ty, $serde:expr) => { $serde.is_empty() };
    (@required request $type:ty, $serde:expr) => { !<$type as $crate::json::shape::Described>::MAY_BE_ABSENT };
    ($($mode:ident $(#[doc = $about:literal])* $name:ident {
        $($(#[doc = $doc:literal])* $(#[serde($($serde:tt)*)])? $field:ident: $type:ty,)*
    })*) => {
        $(
            shape! { @derive $mode
                $(#[doc = $about])*
                pub struct $name {
                    $($(#[doc = $doc])* $(#[serde($($serde)*)])? pub $field: $type,)*
                }
            }

            impl $crate::json::shape::Described for $name {
                fn schema(schemas: &mut $crate::json::shape::Schemas) -> serde_json::Value {
                    $crate::json::shape::object(schemas, stringify!($name), &[$($about),*], &[$(
                        $crate::json::shape::Field {
                            name: stringify!($field),
                            lines: &[$($doc),*],
                            schema: <$type as $crate::json::shape::Described>::schema,
                            is_required: shape!(@required $mode $type, concat!("" $(, stringify!($($serde)*))?)),
                        },
                    )*])
                }
            }

            impl $name {
                /// The names of its fields.
                pub const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
            }
        )*
    };
}

pub(crate) use shape;
