//! Who speaks: what is said of this process with all its spans, metrics and log lines. What the environment says
//! (`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`) goes before what we say. Not responsible for what is spoken of.

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector as _};

/// A process of this service on this system.
pub(crate) fn resource(service: &'static str, instance: &str) -> Resource {
    let told = EnvResourceDetector::new().detect();
    let is_named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    let ours = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.instance.id", instance.to_owned()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.namespace", "mailtier"),
    ];
    let is_untold =
        |ours: &KeyValue| told.get(&ours.key).is_none() && !(is_named && ours.key == Key::new("service.name"));
    Resource::builder().with_attributes(ours.into_iter().filter(is_untold)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own, since the environment is the process's.
    #[test]
    fn the_environment_goes_first() {
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        if std::env::var_os(ATTRIBUTES).is_none() {
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "resource::tests::the_environment_goes_first"])
                .env(ATTRIBUTES, "k8s.pod.name=mx-0,service.instance.id=mx-0")
                .env("OTEL_SERVICE_NAME", "edge")
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let resource = resource("mailtier-inbound", "host");
        let text = |key: &'static str| resource.get(&Key::new(key)).map(|value| value.to_string());
        assert_eq!(text("k8s.pod.name").as_deref(), Some("mx-0"));
        assert_eq!(text("service.instance.id").as_deref(), Some("mx-0"));
        assert_eq!(text("service.name").as_deref(), Some("edge"));
        assert_eq!(text("service.namespace").as_deref(), Some("mailtier"));
    }
}
