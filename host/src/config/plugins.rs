//! Where policies come from and what they get to read.

use std::path::PathBuf;

use super::decisions::DecisionLogConfig;
use super::reader::Reader;
use super::settings;
use super::source::Source;
use crate::domain::release::signing::TrustedKeys;

/// `PLUGIN_DIR` and what policies get to read.
#[derive(Clone, Debug, Default)]
pub struct PluginsConfig {
    /// Watched for components named after their slot, for example `rate-limit.wasm`. None: the bundled ones.
    pub dir: Option<PathBuf>,
    /// Handed to every policy: the `RATE_LIMIT_*` settings and every `POLICY_*` variable, by name.
    pub settings: Vec<(String, String)>,
    /// `POLICY_MODE=native`: the built-in code answers and no component is called. For diagnosis.
    pub native_only: bool,
    /// Only releases that a trusted key vouches for are taken.
    pub require_signature: bool,
    /// Who may vouch for releases.
    pub trusted_keys: TrustedKeys,
    /// Which decisions are kept.
    pub decisions: DecisionLogConfig,
}

const MODE: &str = "POLICY_MODE";
const KEYS: &str = "PLUGIN_TRUSTED_KEYS";
const REQUIRE: &str = "PLUGIN_REQUIRE_SIGNATURE";

impl PluginsConfig {
    /// This section alone, for commands that work on policies without a service.
    #[must_use]
    pub fn from_source(source: &Source) -> Self {
        Self::read(&mut Reader::new(source))
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let limits = settings::SETTINGS
            .iter()
            .filter(|setting| setting.name.starts_with("RATE_LIMIT_"));
        let limits = limits.map(|setting| (setting.name.to_owned(), reader.text(setting.name).to_owned()));
        let mut handed: Vec<(String, String)> = limits.collect();
        handed.extend(
            reader
                .with_prefix(settings::POLICY_PREFIX)
                .into_iter()
                .filter(|(name, _)| name != MODE),
        );
        let trusted_keys = TrustedKeys::parse(reader.text(KEYS)).unwrap_or_else(|error| {
            reader.refuse(KEYS, error.to_string());
            TrustedKeys::default()
        });
        let require_signature = reader.flag(REQUIRE);
        if require_signature && reader.text(KEYS).is_empty() {
            reader.refuse(
                REQUIRE,
                "needs a key in PLUGIN_TRUSTED_KEYS, or no release is ever taken",
            );
        }
        Self {
            dir: reader.given("PLUGIN_DIR").map(PathBuf::from),
            settings: handed,
            native_only: reader.choice(MODE, &[("component", false), ("native", true)], false),
            require_signature,
            trusted_keys,
            decisions: DecisionLogConfig::read(reader),
        }
    }
}
