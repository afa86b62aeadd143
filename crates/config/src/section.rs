//! The macro that defines a section once: its keys, their documentation and their defaults, as a struct and as a table
//! for the reference and for the check of unknown keys. What is written here cannot drift apart.

/// One key, as the reference shows it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: &'static str,
    /// What it means, line by line.
    pub lines: &'static [&'static str],
    /// A running program does not take a change of it up.
    pub needs_restart: bool,
}

/// Defines a section of the configuration. `restart` behind a key says that a running program does not take it up.
macro_rules! section {
    (@needs_restart) => { false };
    (@needs_restart restart) => { true };
    (
        $(#[doc = $section_doc:literal])*
        $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $(#[serde($($serde:tt)*)])?
                $field:ident: $type:ty = $default:expr, $kind:literal $(, $restart:ident)?;
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                $(#[serde($($serde)*)])?
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// Every key of the section.
            pub const KEYS: &'static [crate::section::Key] = &[
                $(crate::section::Key {
                    name: stringify!($field),
                    kind: $kind,
                    lines: &[$($doc),*],
                    needs_restart: crate::section::section!(@needs_restart $($restart)?),
                },)*
            ];
            /// What the section is about.
            pub const ABOUT: &'static [&'static str] = &[$($section_doc),*];
        }
    };
}

pub(crate) use section;
