//! What is to be mounted: `imagerelay+https://host/api`, `imagerelay:`, or a store of the configuration with an optional
//! folder in it, `studio:/Campaigns/2026`.

use std::collections::BTreeMap;
use std::fmt;

use url::Url;

use super::Failure;
use super::config::Config;
use super::words::suggestion;

/// The public service of Image Relay.
const IMAGE_RELAY_URL: &str = "https://api.imagerelay.com/api/v2";

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// Image Relay.
    #[value(name = "imagerelay")]
    ImageRelay,
    /// Omeka Classic.
    Omeka,
    /// Flextype.
    Flextype,
    /// im4 (inmemory4).
    Im4,
}

impl StoreKind {
    /// All of them.
    pub const ALL: [StoreKind; 4] = [
        StoreKind::ImageRelay,
        StoreKind::Omeka,
        StoreKind::Flextype,
        StoreKind::Im4,
    ];

    /// The name in addresses and configurations.
    pub fn word(self) -> &'static str {
        match self {
            StoreKind::ImageRelay => "imagerelay",
            StoreKind::Omeka => "omeka",
            StoreKind::Flextype => "flextype",
            StoreKind::Im4 => "im4",
        }
    }

    /// What addresses of such a store look like.
    pub fn address_example(self) -> &'static str {
        match self {
            StoreKind::ImageRelay => IMAGE_RELAY_URL,
            StoreKind::Omeka | StoreKind::Im4 => "https://host/api",
            StoreKind::Flextype => "https://host",
        }
    }

    /// Reads [`StoreKind::word`].
    pub fn parse(word: &str) -> Result<Self, Failure> {
        let known = || Self::ALL.map(Self::word);
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
            Failure::usage(format!(
                "`{word}` is no kind of store{}; known are {}",
                suggestion(word, known()),
                known().join(", ")
            ))
        })
    }

    /// The address when none is given: only a service that there is one of has one.
    fn default_url(self) -> Option<&'static str> {
        match self {
            StoreKind::ImageRelay => Some(IMAGE_RELAY_URL),
            StoreKind::Omeka | StoreKind::Flextype | StoreKind::Im4 => None,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A store, and where in it to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The store's name: its section, or one made of its address. Names its folders on this machine.
    pub name: String,
    /// What it speaks.
    pub kind: StoreKind,
    /// Its address, without credentials.
    pub url: Url,
    /// The folder that becomes the root of the mount, without slashes at its ends.
    pub sub_folder: Option<String>,
    /// The rest of its section: secrets and mount options.
    pub section: BTreeMap<String, String>,
}

impl Source {
    /// Reads SOURCE as the command line has it.
    pub fn parse(text: &str, config: &Config) -> Result<Self, Failure> {
        let (head, rest) = text.split_once([':', '+']).unwrap_or((text, ""));
        if let Some(section) = config.section(head) {
            return Self::named(head, &text[head.len()..], section, config);
        }
        let by_address = text[head.len()..].starts_with('+') || StoreKind::parse(head).is_ok();
        if !by_address {
            return Err(Failure::usage(format!(
                "there is no store `{head}` in {}{}; or give an address such as imagerelay+https://host/api/v2",
                config.path().display(),
                suggestion(head, config.names()),
            )));
        }
        let kind = StoreKind::parse(head)?;
        let address = if rest.is_empty() {
            kind.default_url()
                .ok_or_else(|| Failure::usage(format!("give the address of the store: {kind}+https://host/…")))?
        } else {
            rest
        };
        let url = address_of(address)?;
        Ok(Self {
            name: name_of(kind, &url),
            kind,
            url,
            sub_folder: None,
            section: BTreeMap::new(),
        })
    }

    /// What people would call it: its section's name, or its kind where it was given by address.
    pub fn short_name(&self) -> &str {
        if self.section.is_empty() {
            self.kind.word()
        } else {
            &self.name
        }
    }

    /// The name of its folders on this machine: a mount of a part of a store keeps its own, because its root is another.
    pub fn state_name(&self) -> String {
        match &self.sub_folder {
            None => self.name.clone(),
            Some(folder) => {
                let last: String = folder
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .take(24)
                    .collect();
                let distinct = xxhash_rust::xxh3::xxh3_64(folder.as_bytes()) as u32;
                format!("{}@{last}-{distinct:08x}", self.name)
            }
        }
    }

    fn named(name: &str, rest: &str, section: &BTreeMap<String, String>, config: &Config) -> Result<Self, Failure> {
        let in_section = |what: String| Failure::usage(format!("[{name}] in {}: {what}", config.path().display()));
        let kind = section
            .get("kind")
            .ok_or_else(|| in_section("`kind` is missing".into()))?;
        let kind = StoreKind::parse(kind).map_err(|e| in_section(e.message))?;
        let url = match (section.get("url"), kind.default_url()) {
            (Some(url), _) => address_of(url).map_err(|e| in_section(e.message))?,
            (None, Some(url)) => address_of(url)?,
            (None, None) => return Err(in_section("`url` is missing".into())),
        };
        let folder = match rest.strip_prefix(':') {
            Some(folder) => folder.trim_matches('/'),
            None if rest.is_empty() => "",
            None => {
                return Err(Failure::usage(format!(
                    "after the store's name comes `:/folder`, not `{rest}`"
                )));
            }
        };
        if folder.split('/').any(|part| part == ".." || part == ".") {
            return Err(Failure::usage("the folder must not contain `.` or `..`"));
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            url,
            sub_folder: Some(folder.to_owned()).filter(|folder| !folder.is_empty()),
            section: section.clone(),
        })
    }
}

/// Reads an address; credentials do not belong there, because it shows in lists of processes and mounts.
fn address_of(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|e| Failure::usage(format!("this is no address of a server: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Failure::usage(
            "the address must begin with https:// or http:// and a host",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(Failure::usage(
            "the address must not hold credentials or a query: keys go into the environment or a file",
        ));
    }
    Ok(url)
}

/// A name for a store that has none: equal for equal addresses, and safe as a folder's name.
fn name_of(kind: StoreKind, url: &Url) -> String {
    let host: String = url
        .host_str()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let port = url.port().map(|port| format!("-{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    let distinct = xxhash_rust::xxh3::xxh3_64(format!("{}{path}", url.scheme()).as_bytes()) as u32;
    format!("{kind}-{host}{port}-{distinct:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::parse(
            "/c.toml".into(),
            "[studio]\nkind = \"imagerelay\"\nquiet = \"5s\"\n\n[archive]\nkind = \"omeka\"\nurl = \"https://a.example/api\"\n",
        )
        .unwrap()
    }

    #[test]
    fn an_address_names_its_kind() {
        let source = Source::parse("omeka+http://127.0.0.1:8080/api", &Config::empty()).unwrap();
        assert_eq!(
            (source.kind, source.url.as_str()),
            (StoreKind::Omeka, "http://127.0.0.1:8080/api")
        );
        assert!(source.name.starts_with("omeka-127.0.0.1-8080-"), "{}", source.name);
        let public = Source::parse("imagerelay:", &Config::empty()).unwrap();
        assert_eq!(public.url.as_str(), IMAGE_RELAY_URL);
        assert!(
            Source::parse("omeka:", &Config::empty()).is_err(),
            "there is no one Omeka"
        );
    }

    #[test]
    fn a_store_of_the_configuration_may_be_narrowed_to_a_folder() {
        let source = Source::parse("studio:/Campaigns/2026/", &config()).unwrap();
        assert_eq!(source.name, "studio");
        assert!(
            source.state_name().starts_with("studio@2026-"),
            "{}",
            source.state_name()
        );
        assert_eq!(source.sub_folder.as_deref(), Some("Campaigns/2026"));
        assert_eq!(source.url.as_str(), IMAGE_RELAY_URL);
        assert_eq!(source.section.get("quiet").map(String::as_str), Some("5s"));
        assert_eq!(Source::parse("archive", &config()).unwrap().sub_folder, None);
        assert!(Source::parse("studio:/../x", &config()).is_err());
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is_near() {
        let failure = Source::parse("studoi", &config()).unwrap_err();
        assert!(failure.message.contains("did you mean `studio`"), "{failure}");
        let failure = Source::parse("omkea+https://a.example/api", &config()).unwrap_err();
        assert!(failure.message.contains("did you mean `omeka`"), "{failure}");
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for text in [
            "omeka+https://ada:hunter2@a.example/api",
            "omeka+https://a.example/api?key=hunter2",
        ] {
            let failure = Source::parse(text, &Config::empty()).unwrap_err();
            assert!(!failure.message.contains("hunter2"), "{failure}");
        }
    }
}
