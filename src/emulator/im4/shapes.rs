//! The two plausible shapes of answers: no documentation shows one.

use serde_json::{Map, Value, json};

use super::state::{Project, Queue, Stored};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bare lists, numbers as numbers, everything of a file side by side.
    A,
    /// Lists inside objects, ids as text, details inside a file.
    B,
}

/// Which optional parts of a file are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Include {
    pub(super) details: bool,
    pub(super) size: bool,
    pub(super) filter: bool,
}

fn id_value(shape: Shape, id: u64) -> Value {
    match shape {
        Shape::A => json!(id),
        Shape::B => json!(id.to_string()),
    }
}

/// A list under the name that shape B gives it.
pub(super) fn list(shape: Shape, name: &str, items: Vec<Value>) -> Value {
    match shape {
        Shape::A => Value::Array(items),
        Shape::B => json!({ name: items }),
    }
}

pub(super) fn ids(shape: Shape, name: &str, ids: &[u64]) -> Value {
    list(shape, name, ids.iter().map(|id| id_value(shape, *id)).collect())
}

pub(super) fn project(shape: Shape, id: u64, project: &Project) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".to_owned(), id_value(shape, id));
    object.insert("subject_firstname".to_owned(), json!(project.firstname));
    object.insert("subject_lastname".to_owned(), json!(project.lastname));
    object.insert("ordernumber".to_owned(), json!(project.ordernumber));
    object.insert("agency_id".to_owned(), id_value(shape, project.agency));
    object
}

pub(super) fn category(shape: Shape, id: u64, name: &str) -> Value {
    match shape {
        Shape::A => json!({"id": id, "name": name}),
        Shape::B => json!({"category_id": id.to_string(), "title": name}),
    }
}

pub(super) fn file(shape: Shape, origin: &str, id: u64, file: &Stored, include: Include, sizes: bool) -> Value {
    let queue = file.queue.map(|queue| match queue {
        Queue::Upload => "upload",
        Queue::Pfc => "pfc",
    });
    let mime = mime_guess::from_path(&file.name).first_or_octet_stream().to_string();
    let preview = format!("{origin}/preview/{id}.jpg");
    let size = sizes.then_some(file.bytes.len());
    let mut object = match shape {
        Shape::A => json!({
            "id": id, "filename": file.name, "category_id": file.category, "caption": file.caption,
            "byline": file.byline, "priority": file.priority, "sortcode": file.sortcode,
            "queued": file.queue.is_some(), "queue": queue, "size": size,
        }),
        Shape::B => json!({
            "id": id.to_string(), "name": file.name, "category": file.category.to_string(),
            "sortcode": file.sortcode.to_string(), "queued": u8::from(file.queue.is_some()), "queue": queue,
            "filesize": size,
        }),
    };
    if include.details {
        match shape {
            Shape::A => {
                object["mime_type"] = json!(mime);
                object["created_at"] = json!(file.created.to_rfc3339());
                object["updated_at"] = json!(file.updated.to_rfc3339());
                object["preview_url"] = json!(preview);
            }
            Shape::B => {
                object["details"] = json!({
                    "caption": file.caption, "byline": file.byline, "priority": file.priority.to_string(),
                    "mime": mime, "preview": preview, "created": file.created.secs, "updated": file.updated.secs,
                });
            }
        }
    }
    if include.size
        && let Ok((width, height)) = image::ImageReader::new(std::io::Cursor::new(&file.bytes))
            .with_guessed_format()
            .map_err(image::ImageError::from)
            .and_then(|reader| reader.into_dimensions())
    {
        object["width"] = json!(width);
        object["height"] = json!(height);
    }
    if include.filter {
        object["filter"] = json!(file.filter);
        object["can_filter"] = json!(mime.starts_with("image/"));
    }
    object
}
