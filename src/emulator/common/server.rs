//! A loopback server whose connections can be cut on purpose.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// How long a shutdown waits for answers under way before it cuts their connections.
const GRACE: Duration = Duration::from_millis(500);

/// A running server. Dropping it cuts every connection.
pub struct Server {
    addr: SocketAddr,
    stopping: CancellationToken,
    cut: CancellationToken,
    task: JoinHandle<()>,
    _cut_on_drop: DropGuard,
}

impl Server {
    /// Binds `listen` (port 0 picks a free one) and serves `router` until [`Server::shutdown`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(listen: SocketAddr, router: Router) -> io::Result<Self> {
        let inner = TcpListener::bind(listen).await?;
        let addr = inner.local_addr()?;
        let stopping = CancellationToken::new();
        let cut = CancellationToken::new();
        let listener = CuttableListener {
            inner,
            cut: cut.clone(),
        };
        let service = router.into_make_service_with_connect_info::<Line>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(stopping.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::warn!(%error, "the built-in server stopped");
            }
        });
        let guard = cut.clone().drop_guard();
        Ok(Self {
            addr,
            stopping,
            cut,
            task,
            _cut_on_drop: guard,
        })
    }

    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://ADDRESS:PORT`, without a trailing slash.
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops accepting, lets answers under way finish for half a second, then cuts what is left.
    pub async fn shutdown(mut self) {
        self.stopping.cancel();
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.cut.cancel();
            if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
                self.task.abort();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The guard cuts the connections; this closes the listening socket.
        self.stopping.cancel();
    }
}

/// The handle of one connection, found in a request's extensions as `ConnectInfo<Line>`.
#[derive(Clone, Debug)]
pub struct Line {
    peer: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Line {
    /// Who called.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Makes the connection's next read or write fail; the peer sees a reset (RST), never a clean close.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Line {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        Self {
            peer: *stream.remote_addr(),
            cut: Arc::clone(&stream.io().cut),
        }
    }
}

struct CuttableListener {
    inner: TcpListener,
    cut: CancellationToken,
}

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, addr) = Listener::accept(&mut self.inner).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's delay");
        }
        let stream = CuttableStream {
            inner: stream,
            cut: Arc::default(),
            all_cut: Box::pin(self.cut.clone().cancelled_owned()),
        };
        (stream, addr)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

struct CuttableStream {
    inner: TcpStream,
    cut: Arc<AtomicBool>,
    /// Wakes whatever waits on this connection when the server cuts all of them.
    all_cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl CuttableStream {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let all = self.all_cut.as_mut().poll(cx).is_ready();
        if all || self.cut.load(Ordering::Acquire) {
            // Without lingering, closing sends RST instead of FIN.
            self.inner.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
