//! The fixed vocabulary of a fresh Omeka Classic: element sets, elements and item types with the ids that the installer
//! gives them.

/// An element set.
pub(super) struct ElementSet {
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) record_type: Option<&'static str>,
}

/// One element of a set.
pub(super) struct Element {
    pub(super) id: u64,
    pub(super) set: u64,
    pub(super) order: Option<u64>,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
}

/// An item type with the elements it suggests.
pub(super) struct ItemType {
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) elements: &'static [u64],
}

/// Dublin Core's Title.
pub(super) const TITLE: u64 = 50;

/// The element, if there is one of this id.
pub(super) fn element(id: u64) -> Option<&'static Element> {
    ELEMENTS.iter().find(|element| element.id == id)
}

/// The element set, if there is one of this id.
pub(super) fn element_set(id: u64) -> Option<&'static ElementSet> {
    ELEMENT_SETS.iter().find(|set| set.id == id)
}

/// The item type, if there is one of this id.
pub(super) fn item_type(id: u64) -> Option<&'static ItemType> {
    ITEM_TYPES.iter().find(|kind| kind.id == id)
}

/// All element sets.
pub(super) const ELEMENT_SETS: &[ElementSet] = &[
    ElementSet {
        id: 1,
        name: "Dublin Core",
        description: "The Dublin Core metadata element set is common to all Omeka records, including items, files, and collections. For more information see, http://dublincore.org/documents/dces/.",
        record_type: None,
    },
    ElementSet {
        id: 3,
        name: "Item Type Metadata",
        description: "The item type metadata element set, consisting of all item type elements bundled with Omeka and all item type elements created by an administrator.",
        record_type: Some("Item"),
    },
];

/// All elements, by id.
pub(super) const ELEMENTS: &[Element] = &[
    Element {
        id: 1,
        set: 3,
        order: None,
        name: "Text",
        description: "Any textual data included in the document",
    },
    Element {
        id: 2,
        set: 3,
        order: None,
        name: "Interviewer",
        description: "The person(s) performing the interview",
    },
    Element {
        id: 3,
        set: 3,
        order: None,
        name: "Interviewee",
        description: "The person(s) being interviewed",
    },
    Element {
        id: 4,
        set: 3,
        order: None,
        name: "Location",
        description: "The location of the interview",
    },
    Element {
        id: 5,
        set: 3,
        order: None,
        name: "Transcription",
        description: "Any written text transcribed from a sound",
    },
    Element {
        id: 6,
        set: 3,
        order: None,
        name: "Local URL",
        description: "The URL of the local directory containing all assets of the website",
    },
    Element {
        id: 7,
        set: 3,
        order: None,
        name: "Original Format",
        description: "The type of object, such as painting, sculpture, paper, photo, and additional data",
    },
    Element {
        id: 10,
        set: 3,
        order: None,
        name: "Physical Dimensions",
        description: "The actual physical size of the original image",
    },
    Element {
        id: 11,
        set: 3,
        order: None,
        name: "Duration",
        description: "Length of time involved (seconds, minutes, hours, days, class periods, etc.)",
    },
    Element {
        id: 12,
        set: 3,
        order: None,
        name: "Compression",
        description: "Type/rate of compression for moving image file (i.e. MPEG-4)",
    },
    Element {
        id: 13,
        set: 3,
        order: None,
        name: "Producer",
        description: "Name (or names) of the person who produced the video",
    },
    Element {
        id: 14,
        set: 3,
        order: None,
        name: "Director",
        description: "Name (or names) of the person who produced the video",
    },
    Element {
        id: 15,
        set: 3,
        order: None,
        name: "Bit Rate/Frequency",
        description: "Rate at which bits are transferred (i.e. 96 kbit/s would be FM quality audio)",
    },
    Element {
        id: 16,
        set: 3,
        order: None,
        name: "Time Summary",
        description: "A summary of an interview given for different time stamps throughout the interview",
    },
    Element {
        id: 17,
        set: 3,
        order: None,
        name: "Email Body",
        description: "The main body of the email, including all replied and forwarded text and headers",
    },
    Element {
        id: 18,
        set: 3,
        order: None,
        name: "Subject Line",
        description: "The content of the subject line of the email",
    },
    Element {
        id: 19,
        set: 3,
        order: None,
        name: "From",
        description: "The name and email address of the person sending the email",
    },
    Element {
        id: 20,
        set: 3,
        order: None,
        name: "To",
        description: "The name(s) and email address(es) of the person to whom the email was sent",
    },
    Element {
        id: 21,
        set: 3,
        order: None,
        name: "CC",
        description: "The name(s) and email address(es) of the person to whom the email was carbon copied",
    },
    Element {
        id: 22,
        set: 3,
        order: None,
        name: "BCC",
        description: "The name(s) and email address(es) of the person to whom the email was blind carbon copied",
    },
    Element {
        id: 23,
        set: 3,
        order: None,
        name: "Number of Attachments",
        description: "The number of attachments to the email",
    },
    Element {
        id: 24,
        set: 3,
        order: None,
        name: "Standards",
        description: "",
    },
    Element {
        id: 25,
        set: 3,
        order: None,
        name: "Objectives",
        description: "",
    },
    Element {
        id: 26,
        set: 3,
        order: None,
        name: "Materials",
        description: "",
    },
    Element {
        id: 27,
        set: 3,
        order: None,
        name: "Lesson Plan Text",
        description: "",
    },
    Element {
        id: 28,
        set: 3,
        order: None,
        name: "URL",
        description: "",
    },
    Element {
        id: 29,
        set: 3,
        order: None,
        name: "Event Type",
        description: "",
    },
    Element {
        id: 30,
        set: 3,
        order: None,
        name: "Participants",
        description: "Names of individuals or groups participating in the event",
    },
    Element {
        id: 31,
        set: 3,
        order: None,
        name: "Birth Date",
        description: "",
    },
    Element {
        id: 32,
        set: 3,
        order: None,
        name: "Birthplace",
        description: "",
    },
    Element {
        id: 33,
        set: 3,
        order: None,
        name: "Death Date",
        description: "",
    },
    Element {
        id: 34,
        set: 3,
        order: None,
        name: "Occupation",
        description: "",
    },
    Element {
        id: 35,
        set: 3,
        order: None,
        name: "Biographical Text",
        description: "",
    },
    Element {
        id: 36,
        set: 3,
        order: None,
        name: "Bibliography",
        description: "",
    },
    Element {
        id: 37,
        set: 1,
        order: Some(8),
        name: "Contributor",
        description: "An entity responsible for making contributions to the resource",
    },
    Element {
        id: 38,
        set: 1,
        order: Some(15),
        name: "Coverage",
        description: "The spatial or temporal topic of the resource, the spatial applicability of the resource, or the jurisdiction under which the resource is relevant",
    },
    Element {
        id: 39,
        set: 1,
        order: Some(4),
        name: "Creator",
        description: "An entity primarily responsible for making the resource",
    },
    Element {
        id: 40,
        set: 1,
        order: Some(7),
        name: "Date",
        description: "A point or period of time associated with an event in the lifecycle of the resource",
    },
    Element {
        id: 41,
        set: 1,
        order: Some(3),
        name: "Description",
        description: "An account of the resource",
    },
    Element {
        id: 42,
        set: 1,
        order: Some(11),
        name: "Format",
        description: "The file format, physical medium, or dimensions of the resource",
    },
    Element {
        id: 43,
        set: 1,
        order: Some(14),
        name: "Identifier",
        description: "An unambiguous reference to the resource within a given context",
    },
    Element {
        id: 44,
        set: 1,
        order: Some(12),
        name: "Language",
        description: "A language of the resource",
    },
    Element {
        id: 45,
        set: 1,
        order: Some(6),
        name: "Publisher",
        description: "An entity responsible for making the resource available",
    },
    Element {
        id: 46,
        set: 1,
        order: Some(10),
        name: "Relation",
        description: "A related resource",
    },
    Element {
        id: 47,
        set: 1,
        order: Some(9),
        name: "Rights",
        description: "Information about rights held in and over the resource",
    },
    Element {
        id: 48,
        set: 1,
        order: Some(5),
        name: "Source",
        description: "A related resource from which the described resource is derived",
    },
    Element {
        id: 49,
        set: 1,
        order: Some(2),
        name: "Subject",
        description: "The topic of the resource",
    },
    Element {
        id: 50,
        set: 1,
        order: Some(1),
        name: "Title",
        description: "A name given to the resource",
    },
    Element {
        id: 51,
        set: 1,
        order: Some(13),
        name: "Type",
        description: "The nature or genre of the resource",
    },
];

/// All item types.
pub(super) const ITEM_TYPES: &[ItemType] = &[
    ItemType {
        id: 1,
        name: "Text",
        description: "A resource consisting primarily of words for reading. Examples include books, letters, dissertations, poems, newspapers, articles, archives of mailing lists. Note that facsimiles or images of texts are still of the genre Text.",
        elements: &[7, 1],
    },
    ItemType {
        id: 3,
        name: "Moving Image",
        description: "A series of visual representations imparting an impression of motion when shown in succession. Examples include animations, movies, television programs, videos, zoetropes, or visual output from a simulation.",
        elements: &[7, 11, 12, 13, 14, 5],
    },
    ItemType {
        id: 4,
        name: "Oral History",
        description: "A resource containing historical information obtained in interviews with persons having firsthand knowledge.",
        elements: &[7, 11, 15, 5, 2, 3, 4, 16],
    },
    ItemType {
        id: 5,
        name: "Sound",
        description: "A resource primarily intended to be heard. Examples include a music playback file format, an audio compact disc, and recorded speech or sounds.",
        elements: &[7, 11, 15, 5],
    },
    ItemType {
        id: 6,
        name: "Still Image",
        description: "A static visual representation. Examples include paintings, drawings, graphic designs, plans and maps. Recommended best practice is to assign the type Text to images of textual materials.",
        elements: &[7, 10],
    },
    ItemType {
        id: 7,
        name: "Website",
        description: "A resource comprising of a web page or web pages and all related assets ( such as images, sound and video files, etc. ).",
        elements: &[6],
    },
    ItemType {
        id: 8,
        name: "Event",
        description: "A non-persistent, time-based occurrence. Metadata for an event provides descriptive information that is the basis for discovery of the purpose, location, duration, and responsible agents associated with an event. Examples include an exhibition, webcast, conference, workshop, open day, performance, battle, trial, wedding, tea party, conflagration.",
        elements: &[29, 30, 11],
    },
    ItemType {
        id: 9,
        name: "Email",
        description: "A resource containing textual messages and binary attachments sent electronically from one person to another or one person to many people.",
        elements: &[17, 18, 20, 19, 21, 22, 23],
    },
    ItemType {
        id: 10,
        name: "Lesson Plan",
        description: "A resource that gives a detailed description of a course of instruction.",
        elements: &[24, 25, 26, 11, 27],
    },
    ItemType {
        id: 11,
        name: "Hyperlink",
        description: "A link, or reference, to another resource on the Internet.",
        elements: &[28],
    },
    ItemType {
        id: 12,
        name: "Person",
        description: "An individual.",
        elements: &[31, 32, 33, 34, 35, 36],
    },
    ItemType {
        id: 13,
        name: "Interactive Resource",
        description: "A resource requiring interaction from the user to be understood, executed, or experienced. Examples include forms on Web pages, applets, multimedia learning objects, chat services, or virtual reality environments.",
        elements: &[],
    },
    ItemType {
        id: 14,
        name: "Dataset",
        description: "Data encoded in a defined structure. Examples include lists, tables, and databases. A dataset may be useful for direct machine processing.",
        elements: &[],
    },
    ItemType {
        id: 15,
        name: "Physical Object",
        description: "An inanimate, three-dimensional object or substance. Note that digital representations of, or surrogates for, these objects should use Moving Image, Still Image, Text or one of the other types.",
        elements: &[],
    },
    ItemType {
        id: 16,
        name: "Service",
        description: "A system that provides one or more functions. Examples include a photocopying service, a banking service, an authentication service, interlibrary loans, a Z39.50 or Web server.",
        elements: &[],
    },
    ItemType {
        id: 17,
        name: "Software",
        description: "A computer program in source or compiled form. Examples include a C source file, MS-Windows .exe executable, or Perl script.",
        elements: &[],
    },
];
