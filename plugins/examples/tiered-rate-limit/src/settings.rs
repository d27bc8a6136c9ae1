//! What the operator sets: the limits of the service, and the classes of players. Reads and checks; decides nothing.

/// The setting with the classes: `<beginning of the player's id>:<times as much>`, comma separated.
pub const CLASSES: &str = "POLICY_PLAYER_CLASSES";
/// Most classes.
const MOST_CLASSES: usize = 16;

/// A class of players.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// How their ids begin.
    pub prefix: String,
    /// How many times as much they get.
    pub factor: u32,
}

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub api_requests: u32,
    /// In seconds.
    pub api_window: u32,
    pub auth_requests: u32,
    /// In seconds.
    pub auth_window: u32,
    pub ws_requests: u32,
    /// In seconds.
    pub ws_window: u32,
    pub classes: Vec<Class>,
}

impl Settings {
    /// What holds when the operator sets nothing: every player gets the same.
    pub const DEFAULT: Self = Self {
        api_requests: 100,
        api_window: 60,
        auth_requests: 10,
        auth_window: 60,
        ws_requests: 1000,
        ws_window: 60,
        classes: Vec::new(),
    };

    /// Reads the operator's settings. Unknown names are ignored, what is not named keeps its default.
    ///
    /// # Errors
    ///
    /// Names the setting, its value and what would be right.
    pub fn read<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut read = Self::DEFAULT;
        for (name, value) in settings {
            let (number, most) = match name {
                "RATE_LIMIT_API_REQUESTS" => (&mut read.api_requests, 1_000_000),
                "RATE_LIMIT_API_WINDOW" => (&mut read.api_window, 86_400),
                "RATE_LIMIT_AUTH_REQUESTS" => (&mut read.auth_requests, 1_000_000),
                "RATE_LIMIT_AUTH_WINDOW" => (&mut read.auth_window, 86_400),
                "RATE_LIMIT_WS_REQUESTS" => (&mut read.ws_requests, 1_000_000),
                "RATE_LIMIT_WS_WINDOW" => (&mut read.ws_window, 86_400),
                CLASSES => {
                    read.classes = classes(value)?;
                    continue;
                }
                _ => continue,
            };
            *number = match value.trim().parse() {
                Ok(given) if (1..=most).contains(&given) => given,
                _ => {
                    return Err(format!(
                        "{name} is '{value}': a whole number from 1 to {most} is needed"
                    ));
                }
            };
        }
        Ok(read)
    }

    /// How many times as much a player gets: by the longest beginning that fits, once when none does.
    #[must_use]
    pub fn factor(&self, player_id: &str) -> u32 {
        let fitting = self.classes.iter().filter(|class| player_id.starts_with(&class.prefix));
        fitting
            .max_by_key(|class| class.prefix.len())
            .map_or(1, |class| class.factor)
    }
}

fn classes(text: &str) -> Result<Vec<Class>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let classes = entries
        .map(|entry| {
            let (prefix, factor) = entry.rsplit_once(':')?;
            let factor = factor
                .trim()
                .parse()
                .ok()
                .filter(|factor| (1..=1000).contains(factor))?;
            Some(Class {
                prefix: prefix.to_owned(),
                factor,
            })
        })
        .collect::<Option<Vec<_>>>();
    match classes {
        Some(classes) if classes.len() <= MOST_CLASSES => Ok(classes),
        _ => Err(format!(
            "{CLASSES} is '{text}': at most {MOST_CLASSES} of <beginning of the player's id>:<1 to 1000>, comma \
             separated, are needed"
        )),
    }
}
