//! What is peculiar to these sites: pictures encoded anew, temporaries beside a name, reads that trip over a token.

use super::*;

/// A picture of which the site makes another one of as many bytes. Leaves `a.jpg` there.
pub(super) async fn picture_that_keeps_its_size(s: &Setup) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(300, 90, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
    let mut sent = Vec::new();
    let coarse = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut sent, 20);
    picture.write_with_encoder(coarse).unwrap();
    let stored = s.create("folder:/", "a.jpg", &sent).await.unwrap().size.unwrap();
    assert!(stored > sent.len() as u64);
    // What follows the end of a picture is not looked at.
    sent.resize(usize::try_from(stored).unwrap(), 0);
    sent
}

/// As many bytes as were sent are no proof that they are the same: the drive went on serving the ones that were sent.
#[tokio::test]
async fn a_picture_of_equal_size_and_other_bytes_is_told_as_altered() {
    let s = setup().await;
    let sent = picture_that_keeps_its_size(&s).await;
    let entry = s.create("folder:/", "b.jpg", &sent).await.unwrap();
    assert_eq!(entry.size, Some(sent.len() as u64));
    assert!(
        entry
            .altered()
            .is_some_and(|why| why.contains("encoded this picture anew"))
    );
    let text = s.create("folder:/", "c.jpg", b"no picture at all").await.unwrap();
    assert_eq!(text.altered(), None);
}

/// For a moment the old content lies beside its name, older than any upload: a listing must not show it as a new file.
#[tokio::test]
async fn neither_the_new_nor_the_old_content_is_listed_beside_its_name() {
    let s = setup().await;
    s.create("folder:/", "a.txt", b"old").await.unwrap();
    let now = SystemClock::shared().now().secs as u32;
    for prefix in ["assetfs-tmp-", "assetfs-old-"] {
        s.site.put_file(&format!("{prefix}{now:08x}00000000.txt"), "on its way");
        s.site
            .put_file(&format!("{prefix}{:08x}00000000.txt", now - 7_200), "left behind");
    }
    let names = s.names("folder:/").await.unwrap();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"a.txt".to_owned()));
}

/// Another client's call that rewrites the token at the same moment makes a read fail: it is asked again.
#[tokio::test]
async fn a_read_that_fails_once_is_asked_again() {
    let s = setup().await;
    s.create("folder:/", "a.txt", b"a").await.unwrap();
    let fail_once = |pattern: &str| {
        s.site
            .faults()
            .add(FaultRule::new(pattern, When::Nth(1), Action::status(500)));
    };
    fail_once("GET /api/files");
    assert_eq!(s.names("folder:/").await.unwrap(), ["a.txt"]);
    fail_once("GET /api/files");
    assert_eq!(s.store.stat(&id("file:/a.txt")).await.unwrap().size, Some(1));
}
