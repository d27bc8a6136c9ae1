//! The AI service that NPC state comes from.

use std::time::Duration;

use super::reader::Reader;

/// `AI_SERVICE_ENABLED`, `AI_SERVICE_URL`.
#[derive(Clone, Debug)]
pub struct AiServiceConfig {
    pub enabled: bool,
    /// Without a trailing slash.
    pub url: String,
    /// `AI_SERVICE_TIMEOUT_SECONDS`: the whole request.
    pub timeout: Duration,
}

impl AiServiceConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.text("AI_SERVICE_URL").trim_end_matches('/').to_owned();
        let right = reqwest::Url::parse(&url).is_ok_and(|parsed| {
            matches!(parsed.scheme(), "http" | "https") && parsed.query().is_none() && parsed.fragment().is_none()
        });
        if !right {
            reader.refuse("AI_SERVICE_URL", "must be an http:// or https:// URL without a query");
        }
        Self {
            enabled: reader.flag("AI_SERVICE_ENABLED"),
            url,
            timeout: reader.span("AI_SERVICE_TIMEOUT_SECONDS", Duration::from_secs(1), 0.1..=60.0),
        }
    }
}
