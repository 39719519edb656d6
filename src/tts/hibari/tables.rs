//! Words that are written short: abbreviations, titles, units, money, months.
//!
//! Pure data, looked up by exact spelling. The choice of entries follows hibari-tts 0.2.1
//! (`assets/normalize.json`, Apache-2.0), with more units.

/// The entry of `key` in a table.
pub(super) fn find<T: Copy>(table: &[(&str, T)], key: &str) -> Option<T> {
    table.iter().find(|(k, _)| *k == key).map(|&(_, v)| v)
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Number of the month (0 to 11) that `word` names, in full or by its first three letters.
pub(super) fn month(word: &str) -> Option<usize> {
    let word = if word == "Sept" { "Sep" } else { word };
    MONTHS.iter().position(|name| *name == word || (word.len() == 3 && name.starts_with(word)))
}

/// Short forms that stand before a name, with or without a full stop.
#[rustfmt::skip]
pub(super) const TITLES: &[(&str, &str)] = &[
    ("Mr", "Mister"), ("Mrs", "Missus"), ("Ms", "Miz"), ("Dr", "Doctor"), ("Prof", "Professor"), ("St", "Saint"),
    ("Mt", "Mount"), ("Ft", "Fort"), ("Gen", "General"), ("Gov", "Governor"), ("Sen", "Senator"),
    ("Rep", "Representative"), ("Capt", "Captain"), ("Lt", "Lieutenant"), ("Col", "Colonel"), ("Sgt", "Sergeant"),
    ("Cmdr", "Commander"), ("Rev", "Reverend"), ("Hon", "Honorable"), ("Pres", "President"), ("Cpl", "Corporal"),
    ("Maj", "Major"), ("Adm", "Admiral"), ("Fr", "Father"),
];

/// Short forms that end in a full stop.
#[rustfmt::skip]
pub(super) const DOTTED: &[(&str, &str)] = &[
    ("Jr", "Junior"), ("Sr", "Senior"), ("St", "Street"), ("Ave", "Avenue"), ("Blvd", "Boulevard"), ("Rd", "Road"),
    ("Ln", "Lane"), ("Hwy", "Highway"), ("Apt", "Apartment"), ("Bldg", "Building"), ("Ltd", "Limited"),
    ("Inc", "Incorporated"), ("Corp", "Corporation"), ("Co", "Company"), ("Bros", "Brothers"),
    ("Dept", "Department"), ("Univ", "University"), ("Govt", "Government"), ("approx", "approximately"),
    ("est", "established"), ("vs", "versus"), ("vol", "volume"), ("Vol", "Volume"), ("fig", "figure"),
    ("Fig", "Figure"), ("ch", "chapter"), ("Ch", "Chapter"), ("pp", "pages"), ("ed", "edition"), ("cf", "compare"),
    ("etc", "etc"), ("e.g", "for example"), ("E.g", "For example"), ("i.e", "that is"), ("I.e", "That is"),
    ("Mon", "Monday"), ("Tue", "Tuesday"), ("Tues", "Tuesday"), ("Wed", "Wednesday"), ("Thu", "Thursday"),
    ("Thurs", "Thursday"), ("Fri", "Friday"), ("min", "minutes"), ("max", "maximum"), ("incl", "including"),
];

/// Short forms without a full stop.
#[rustfmt::skip]
pub(super) const PLAIN: &[(&str, &str)] = &[
    ("vs", "versus"), ("w/", "with"), ("w/o", "without"), ("aka", "also known as"), ("AKA", "also known as"),
    ("BTW", "by the way"), ("IMO", "in my opinion"), ("TBD", "to be determined"),
    ("C++", "C plus plus"), ("C#", "C sharp"), ("F#", "F sharp"),
];

/// What follows a number: singular and plural. Case counts.
#[rustfmt::skip]
pub(super) const UNITS: &[(&str, (&str, &str))] = &[
    ("m", ("meter", "meters")), ("km", ("kilometer", "kilometers")), ("cm", ("centimeter", "centimeters")),
    ("mm", ("millimeter", "millimeters")), ("µm", ("micrometer", "micrometers")), ("nm", ("nanometer", "nanometers")),
    ("ft", ("foot", "feet")), ("yd", ("yard", "yards")), ("mi", ("mile", "miles")),
    ("g", ("gram", "grams")), ("kg", ("kilogram", "kilograms")), ("mg", ("milligram", "milligrams")),
    ("mcg", ("microgram", "micrograms")), ("µg", ("microgram", "micrograms")), ("lb", ("pound", "pounds")),
    ("lbs", ("pounds", "pounds")), ("oz", ("ounce", "ounces")), ("ml", ("milliliter", "milliliters")),
    ("mL", ("milliliter", "milliliters")), ("L", ("liter", "liters")), ("cc", ("cubic centimeter", "cubic centimeters")),
    ("kph", ("kilometer per hour", "kilometers per hour")), ("km/h", ("kilometer per hour", "kilometers per hour")),
    ("mph", ("mile per hour", "miles per hour")), ("m/s", ("meter per second", "meters per second")),
    ("Hz", ("hertz", "hertz")), ("kHz", ("kilohertz", "kilohertz")), ("MHz", ("megahertz", "megahertz")),
    ("GHz", ("gigahertz", "gigahertz")), ("dB", ("decibel", "decibels")), ("KB", ("kilobyte", "kilobytes")),
    ("kB", ("kilobyte", "kilobytes")), ("MB", ("megabyte", "megabytes")), ("GB", ("gigabyte", "gigabytes")),
    ("TB", ("terabyte", "terabytes")), ("kbps", ("kilobit per second", "kilobits per second")),
    ("Mbps", ("megabit per second", "megabits per second")), ("Gbps", ("gigabit per second", "gigabits per second")),
    ("fps", ("frame per second", "frames per second")), ("h", ("hour", "hours")), ("hr", ("hour", "hours")),
    ("hrs", ("hour", "hours")), ("min", ("minute", "minutes")), ("mins", ("minute", "minutes")),
    ("s", ("second", "seconds")), ("sec", ("second", "seconds")), ("secs", ("second", "seconds")),
    ("ms", ("millisecond", "milliseconds")), ("kWh", ("kilowatt hour", "kilowatt hours")),
    ("kW", ("kilowatt", "kilowatts")), ("MW", ("megawatt", "megawatts")), ("GW", ("gigawatt", "gigawatts")),
    ("mAh", ("milliamp hour", "milliamp hours")), ("px", ("pixel", "pixels")),
    ("°C", ("degree Celsius", "degrees Celsius")), ("°F", ("degree Fahrenheit", "degrees Fahrenheit")),
    ("°", ("degree", "degrees")), ("%", ("percent", "percent")), ("pct", ("percent", "percent")),
    ("¢", ("cent", "cents")), ("€", ("euro", "euros")), ("USD", ("dollar", "dollars")), ("EUR", ("euro", "euros")),
    ("GBP", ("pound", "pounds")), ("CNY", ("yuan", "yuan")), ("RMB", ("yuan", "yuan")), ("JPY", ("yen", "yen")),
];

/// Money written before its amount: unit and hundredth, each singular and plural.
#[rustfmt::skip]
pub(super) const MONEY: &[(&str, [&str; 4])] = &[
    ("$", ["dollar", "dollars", "cent", "cents"]), ("US$", ["dollar", "dollars", "cent", "cents"]),
    ("£", ["pound", "pounds", "penny", "pence"]), ("€", ["euro", "euros", "cent", "cents"]),
    ("¥", ["yen", "yen", "sen", "sen"]), ("₹", ["rupee", "rupees", "paisa", "paise"]),
    ("₩", ["won", "won", "jeon", "jeon"]),
];

/// Powers of ten in words and as letters after an amount.
#[rustfmt::skip]
pub(super) const SCALES: &[(&str, &str)] = &[
    ("hundred", "hundred"), ("thousand", "thousand"), ("million", "million"), ("billion", "billion"),
    ("trillion", "trillion"), ("k", "thousand"), ("K", "thousand"), ("M", "million"), ("m", "million"),
    ("bn", "billion"), ("B", "billion"), ("b", "billion"), ("T", "trillion"),
];

/// Signs inside or instead of words.
#[rustfmt::skip]
pub(super) const SIGNS: &[(char, &str)] = &[
    ('&', "and"), ('+', "plus"), ('=', "equals"), ('@', "at"), ('%', "percent"), ('<', "less than"),
    ('>', "greater than"), ('~', "about"), ('≈', "about"), ('≤', "at most"), ('≥', "at least"), ('°', "degrees"),
    ('¢', "cents"), ('§', "section"), ('¶', "paragraph"), ('±', "plus or minus"), ('×', "times"),
    ('÷', "divided by"), ('©', "copyright"), ('→', "to"), ('½', "one half"), ('¼', "one quarter"),
    ('¾', "three quarters"), ('²', "squared"), ('³', "cubed"), ('µ', "micro"), ('^', "to the power of"), ('#', "hashtag"),
    ('√', "root"), ('∞', "infinity"), ('$', "dollars"), ('€', "euros"), ('£', "pounds"), ('¥', "yen"),
    ('|', ","), ('/', " "), ('_', " "), ('\\', " "), ('*', " "),
];

/// Words after which a Roman numeral counts: "Chapter IV".
#[rustfmt::skip]
pub(super) const COUNTED: &[&str] = &[
    "Chapter", "chapter", "Part", "part", "Act", "Scene", "Section", "section", "Volume", "volume", "Book", "book",
    "Phase", "phase", "Article", "article", "War", "Mark", "Type", "type", "Level", "level", "Stage", "stage",
    "Class", "class", "Grade", "grade", "Bowl", "Apollo", "Gemini", "Fantasy", "Episode", "Round", "round", "Rocky",
];

/// Names after which a Roman numeral ranks: "Henry VIII".
#[rustfmt::skip]
pub(super) const RANKED: &[&str] = &[
    "Pope", "King", "Queen", "Henry", "Louis", "Edward", "George", "William", "Charles", "James", "Richard",
    "Elizabeth", "Napoleon", "Pius", "Benedict", "Leo", "Paul", "Ramses", "Frederick", "Philip", "Alexander",
    "Nicholas", "Peter", "Catherine", "Ivan", "Umberto", "Gustav", "Christian", "Ferdinand", "Wilhelm",
];
