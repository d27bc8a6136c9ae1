//! The export of traces, by the names that OpenTelemetry gives its settings.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::reader::Reader;

/// `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER_ARG`, `OTEL_SERVICE_NAME`.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The collector, without the path of traces. None: nothing is exported.
    pub endpoint: Option<Url>,
    /// Sent with each request. Their values are secret.
    pub headers: HeaderMap,
    /// Share of the work that nobody else has sampled, 0 to 1.
    pub share: f64,
    /// Whom spans are of.
    pub service_name: String,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

impl TracesConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let endpoint = reader.given(ENDPOINT).and_then(|text| match endpoint(text) {
            Ok(url) => Some(url),
            Err(problem) => {
                reader.refuse(ENDPOINT, problem);
                None
            }
        });
        let headers = headers(reader.text(HEADERS)).unwrap_or_else(|problem| {
            reader.refuse(HEADERS, problem);
            HeaderMap::new()
        });
        Self {
            endpoint,
            headers,
            share: reader.number(SHARE, 0.0..=1.0),
            service_name: reader.text(SERVICE_NAME).to_owned(),
        }
    }
}

fn endpoint(text: &str) -> Result<Url, &'static str> {
    let right =
        |url: &Url| matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    let url = Url::parse(text)
        .ok()
        .filter(right)
        .ok_or("must be an http:// or https:// URL without a query, as in http://localhost:4318")?;
    if url.path().trim_end_matches('/').ends_with("/v1/traces") {
        return Err("must be the URL without /v1/traces, which is put behind it");
    }
    Ok(url)
}

/// `name=value,name=value`, the values as in a URL.
fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (number, item) in text.split(',').enumerate() {
        let item = item.trim();
        if item.is_empty() {
            continue;
        }
        // No part of an item is quoted: what looks like a name may be a secret.
        let wrong = || {
            let number = number + 1;
            format!("item {number} is no header: must be name=value,name=value, with special characters as %XX")
        };
        let (name, value) = item.split_once('=').ok_or_else(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let value: Vec<u8> = percent_decode_str(value.trim()).collect();
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn read(pairs: &[(&str, &str)]) -> (TracesConfig, Vec<String>) {
        let source = Source::of(pairs, &[]);
        let mut reader = Reader::new(&source);
        let config = TracesConfig::read(&mut reader);
        (config, reader.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_exported_unless_it_is_asked_for() {
        let (config, problems) = read(&[]);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(config.endpoint.is_none() && config.headers.is_empty());
        assert_eq!((config.share, config.service_name.as_str()), (0.01, "p2p-coordinator"));
    }

    #[test]
    fn headers_are_read_as_the_standard_writes_them_and_never_shown() {
        let (config, problems) = read(&[
            (ENDPOINT, "https://collector:4318/tenant/"),
            (HEADERS, "Authorization=Basic%20c2VjcmV0, x-scope=a=b ,"),
            (SHARE, "1"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(config.headers["authorization"], "Basic c2VjcmV0");
        assert_eq!(config.headers["x-scope"], "a=b");
        assert!(!format!("{config:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        for (name, value, text) in [
            (ENDPOINT, "collector:4318", "http://localhost:4318"),
            (ENDPOINT, "http://collector:4318/?a=b", "without a query"),
            (ENDPOINT, "http://collector:4318/v1/traces", "without /v1/traces"),
            (HEADERS, "a=b,secret", "item 2 is no header"),
            (HEADERS, "sec ret=b", "item 1 is no header"),
            (HEADERS, "a=secret%0A", "item 1 is no header"),
            (SHARE, "1%", "from 0 to 1"),
            (SHARE, "2", "from 0 to 1"),
        ] {
            let (_, problems) = read(&[(name, value)]);
            assert!(
                problems.len() == 1 && problems[0].contains(name) && problems[0].contains(text),
                "{value}: {problems:?}"
            );
            assert!(!problems[0].contains("secret"), "{problems:?}");
        }
    }
}
