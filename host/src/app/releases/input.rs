//! What operators send: reads and checks the members of requests about releases.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::error::AppError;
use super::super::members::{Members, Request, invalid};
use crate::domain::release::{
    MAX_NOTE, MAX_SETTING_VALUE, MAX_SETTINGS, ReleaseLimits, ReleaseSignature, is_setting_name,
};
use crate::domain::rollout::{Gates, RolloutMode};

/// Largest component, in bytes.
const MAX_COMPONENT: usize = 64 << 20;
/// Longest deadline that a release may ask for, in milliseconds; the slot's own is the most that holds.
const MAX_DEADLINE_MS: u32 = 50;
/// Memory that a release may ask for, in bytes.
const MEMORY: std::ops::RangeInclusive<u32> = (1 << 16)..=(64 << 20);
/// Share of the calls that a shadow is shown without a word about it, in percent.
const SAMPLE_PERCENT: f64 = 10.0;

/// A release to store.
#[derive(Clone, Debug, ToSchema)]
pub struct Upload {
    /// The component, in base64.
    #[schema(value_type = String)]
    pub component: Vec<u8>,
    /// Handed to the policy over the settings of the service.
    #[schema(required = false)]
    pub settings: BTreeMap<String, String>,
    #[schema(required = false)]
    pub limits: ReleaseLimits,
    #[schema(required = false)]
    pub note: String,
    pub signature: Option<ReleaseSignature>,
}

/// A release to activate.
#[derive(Clone, Debug, ToSchema)]
pub struct Activation {
    pub release_id: String,
    /// Why; for the audit.
    #[schema(required = false)]
    pub note: String,
}

/// A release to try.
#[derive(Clone, Debug, ToSchema)]
pub struct RolloutRequest {
    pub release_id: String,
    pub mode: RolloutMode,
    /// Share of the calls that a canary answers, 0 to 100.
    #[schema(required = false)]
    pub percent: f64,
    /// Share of the calls that a shadow is shown, 0 to 100.
    #[schema(required = false)]
    pub sample_percent: f64,
    #[schema(required = false)]
    pub gates: Gates,
    #[schema(required = false)]
    pub note: String,
}

/// A word about a decision. The body may be empty.
#[derive(Clone, Debug, Default, ToSchema)]
pub struct Decision {
    #[schema(required = false)]
    pub note: String,
}

/// Where to go back to. The body may be empty.
#[derive(Clone, Debug, Default, ToSchema)]
pub struct Rollback {
    /// A release that served before; without it the one before the active one.
    pub release_id: Option<String>,
    #[schema(required = false)]
    pub note: String,
}

impl Request for Upload {
    /// The largest component in base64, and what stands beside it.
    const MAX_BODY: usize = MAX_COMPONENT.div_ceil(3) * 4 + 512 * 1024;

    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let component = match members.take("component") {
            Some(Value::String(text)) => STANDARD.decode(text).unwrap_or_default(),
            _ => Vec::new(),
        };
        if component.is_empty() || component.len() > MAX_COMPONENT {
            let right = format!("must be a component of at most {MAX_COMPONENT} bytes, in base64");
            members.refuse("component", right);
        }
        let upload = Self {
            component,
            settings: settings(&mut members),
            limits: limits(&mut members),
            note: note(&mut members),
            signature: member::<ReleaseSignature>(&mut members, "signature", "an object with key_id and value"),
        };
        members.finish(upload)
    }
}

impl Request for Activation {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let activation = Self {
            release_id: members.text("release_id"),
            note: note(&mut members),
        };
        members.finish(activation)
    }
}

impl Request for RolloutRequest {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let mode = match members.text("mode").as_str() {
            "shadow" => Some(RolloutMode::Shadow),
            "canary" => Some(RolloutMode::Canary),
            "" => None,
            _ => {
                members.refuse("mode", "must be shadow or canary");
                None
            }
        };
        let percent = members.optional_number("percent", 0.0, 100.0);
        if mode == Some(RolloutMode::Canary) && percent.is_none() {
            members.refuse("percent", "is required for a canary: a number from 0 to 100");
        }
        let request = Self {
            release_id: members.text("release_id"),
            mode: mode.unwrap_or(RolloutMode::Shadow),
            percent: percent.unwrap_or(0.0),
            sample_percent: members
                .optional_number("sample_percent", 0.0, 100.0)
                .unwrap_or(SAMPLE_PERCENT),
            gates: gates(&mut members)?,
            note: note(&mut members),
        };
        members.finish(request)
    }
}

impl Request for Decision {
    const OPTIONAL: bool = true;

    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let decision = Self {
            note: note(&mut members),
        };
        members.finish(decision)
    }
}

impl Request for Rollback {
    const OPTIONAL: bool = true;

    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let rollback = Self {
            release_id: members.optional_text("release_id", 64),
            note: note(&mut members),
        };
        members.finish(rollback)
    }
}

fn note(members: &mut Members) -> String {
    match members.take("note") {
        None => String::new(),
        Some(Value::String(text)) if text.len() <= MAX_NOTE && !text.chars().any(char::is_control) => text,
        Some(_) => {
            members.refuse(
                "note",
                format!("must be at most {MAX_NOTE} bytes without control characters"),
            );
            String::new()
        }
    }
}

fn settings(members: &mut Members) -> BTreeMap<String, String> {
    const FIELD: &str = "settings";
    let given = match members.take(FIELD) {
        None => return BTreeMap::new(),
        Some(Value::Object(given)) if given.len() <= MAX_SETTINGS => given,
        Some(_) => {
            members.refuse(FIELD, format!("must be an object of at most {MAX_SETTINGS} strings"));
            return BTreeMap::new();
        }
    };
    let mut settings = BTreeMap::new();
    for (name, value) in given {
        let good = |text: &String| text.len() <= MAX_SETTING_VALUE && !text.chars().any(char::is_control);
        match value {
            Value::String(text) if is_setting_name(&name) && good(&text) => {
                settings.insert(name, text);
            }
            _ => {
                let right = format!(
                    "names must be letters, digits, _, - and ., values strings of at most {MAX_SETTING_VALUE} bytes \
                     without control characters"
                );
                members.refuse(FIELD, right);
                break;
            }
        }
    }
    settings
}

fn limits(members: &mut Members) -> ReleaseLimits {
    let wanted = "an object with deadline_ms, memory_bytes, or none of them";
    let limits = member::<ReleaseLimits>(members, "limits", wanted).unwrap_or_default();
    if limits
        .deadline_ms
        .is_some_and(|ms| !(1..=MAX_DEADLINE_MS).contains(&ms))
    {
        members.refuse(
            "limits.deadline_ms",
            format!("must be a whole number from 1 to {MAX_DEADLINE_MS}"),
        );
    }
    if limits.memory_bytes.is_some_and(|bytes| !MEMORY.contains(&bytes)) {
        let right = format!("must be a whole number from {} to {}", MEMORY.start(), MEMORY.end());
        members.refuse("limits.memory_bytes", right);
    }
    limits
}

/// A bound that is left out is that of `Gates::default`; `null` takes it away.
fn gates(members: &mut Members) -> Result<Gates, AppError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Given {
        min_samples: u64,
        max_difference_rate: Option<f64>,
        max_failure_rate: Option<f64>,
        max_p99_ratio: Option<f64>,
        promote_automatically: bool,
    }
    impl Default for Given {
        fn default() -> Self {
            let gates = Gates::default();
            Self {
                min_samples: gates.min_samples,
                max_difference_rate: gates.max_difference_rate,
                max_failure_rate: gates.max_failure_rate,
                max_p99_ratio: gates.max_p99_ratio,
                promote_automatically: gates.promote_automatically,
            }
        }
    }
    let Some(value) = members.take("gates") else {
        return Ok(Gates::default());
    };
    let given: Given = serde_json::from_value(value).map_err(|error| invalid("gates", error.to_string()))?;
    let rates = [
        ("gates.max_difference_rate", given.max_difference_rate, 1.0),
        ("gates.max_failure_rate", given.max_failure_rate, 1.0),
        ("gates.max_p99_ratio", given.max_p99_ratio, 1000.0),
    ];
    for (field, rate, most) in rates {
        if rate.is_some_and(|rate| !(0.0..=most).contains(&rate)) {
            members.refuse(field, format!("must be a number from 0 to {most}"));
        }
    }
    if given.min_samples == 0 {
        members.refuse("gates.min_samples", "must be at least 1");
    }
    Ok(Gates {
        min_samples: given.min_samples,
        max_difference_rate: given.max_difference_rate,
        max_failure_rate: given.max_failure_rate,
        max_p99_ratio: given.max_p99_ratio,
        promote_automatically: given.promote_automatically,
    })
}

fn member<T: serde::de::DeserializeOwned>(members: &mut Members, field: &str, wanted: &str) -> Option<T> {
    let value = members.take(field)?;
    let read = serde_json::from_value(value).ok();
    if read.is_none() {
        members.refuse(field, format!("must be {wanted}"));
    }
    read
}
