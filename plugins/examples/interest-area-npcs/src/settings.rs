//! The places of interest, as the operator names them. Reads and checks; decides nothing.

/// The setting with the places: `<zone>:<x>,<y>,<radius>`, separated by semicolons.
pub const PLACES: &str = "POLICY_INTEREST_AREAS";
/// Most places.
const MOST_PLACES: usize = 256;

/// A place of interest.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub zone_id: String,
    pub x: f64,
    pub y: f64,
    /// More than 0.
    pub radius: f64,
}

/// What the operator sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub places: Vec<Place>,
}

impl Settings {
    /// Reads the operator's settings. Unknown names are ignored.
    ///
    /// # Errors
    ///
    /// Names the setting, the entry and what would be right.
    pub fn read<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut read = Self::default();
        for (name, value) in settings {
            if name != PLACES {
                continue;
            }
            for entry in value.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
                let place = place(entry)
                    .ok_or_else(|| format!("{PLACES} has '{entry}': <zone>:<x>,<y>,<radius above 0> is needed"))?;
                read.places.push(place);
            }
        }
        if read.places.len() > MOST_PLACES {
            return Err(format!(
                "{PLACES} has {} places, {MOST_PLACES} are allowed",
                read.places.len()
            ));
        }
        Ok(read)
    }

    /// The places of one zone.
    #[must_use]
    pub fn of(&self, zone_id: &str) -> Vec<&Place> {
        self.places.iter().filter(|place| place.zone_id == zone_id).collect()
    }
}

fn place(entry: &str) -> Option<Place> {
    let (zone_id, numbers) = entry.rsplit_once(':')?;
    let mut numbers = numbers.split(',').map(|number| number.trim().parse::<f64>().ok());
    let (x, y, radius) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let makes_sense = numbers.next().is_none()
        && [x, y, radius].iter().all(|number| number.is_finite())
        && radius > 0.0
        && !zone_id.is_empty();
    makes_sense.then(|| Place {
        zone_id: zone_id.to_owned(),
        x,
        y,
        radius,
    })
}
