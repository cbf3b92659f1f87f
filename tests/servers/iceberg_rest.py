"""An Iceberg REST catalog for the tests: Iceberg's own servlet over its JDBC catalog, with tables in a local folder."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import OneProcess
from servers.run import Run

JAVA_VERSION_MIN = 17
ICEBERG = "1.10.1"
JETTY = "11.0.26"
HADOOP = "3.4.2"
JARS = Jars(
    f"iceberg-rest-{ICEBERG}",
    (
        f"org.apache.iceberg:iceberg-core:{ICEBERG}",
        # The servlet is among its tests.
        f"org.apache.iceberg:iceberg-core:{ICEBERG}:jar:tests",
        f"org.eclipse.jetty:jetty-servlet:{JETTY}",
        f"org.eclipse.jetty:jetty-xml:{JETTY}",
        "org.xerial:sqlite-jdbc:3.50.3.0",
        f"org.apache.hadoop:hadoop-client-api:{HADOOP}",
        f"org.apache.hadoop:hadoop-client-runtime:{HADOOP}",
        "org.slf4j:slf4j-simple:2.0.17",
    ),
    Path(__file__).with_name("iceberg_rest.sha256"),
)
READY_SECONDS = 90.0
# Iceberg's program for tests listens on all addresses of the machine; so Jetty builds the same from this file.
SERVER = """<Configure class="org.eclipse.jetty.server.Server">
<Arg><New class="java.net.InetSocketAddress"><Arg>{host}</Arg><Arg type="int">{port}</Arg></New></Arg>
<New id="catalog" class="org.apache.iceberg.jdbc.JdbcCatalog">
<Call name="setConf"><Arg><New class="org.apache.hadoop.conf.Configuration"/></Arg></Call>
<Call name="initialize"><Arg>rest</Arg><Arg><Map>{properties}</Map></Arg></Call>
</New>
<Set name="handler"><New class="org.eclipse.jetty.servlet.ServletContextHandler"><Call name="addServlet">
<Arg><New class="org.eclipse.jetty.servlet.ServletHolder"><Arg>
<New class="org.apache.iceberg.rest.RESTCatalogServlet"><Arg>
<New class="org.apache.iceberg.rest.RESTCatalogAdapter"><Arg><Ref refid="catalog"/></Arg></New>
</Arg></New>
</Arg></New></Arg>
<Arg>/*</Arg>
</Call></New></Set>
</Configure>
"""


@dataclass(slots=True)
class IcebergRestServer(OneProcess):
    """One REST catalog without authentication, that a test may kill, pause and start again on its tables."""

    name: str = "iceberg-rest"
    port: int = 0
    _run: Run | None = None

    @property
    def uri(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def missing(self) -> str | None:
        return JARS.missing(find_java(JAVA_VERSION_MIN), JAVA_VERSION_MIN)

    def resolve(self) -> None:
        JARS.resolve(self._java())

    def start(self, run: Run) -> str:
        self.resolve()
        self._run = run
        (self.port,) = free_ports(1)
        properties = {
            "uri": f"jdbc:sqlite:{run.folder / 'catalog.db'}",
            "warehouse": (run.folder / "warehouse").as_uri(),
            "io-impl": "org.apache.iceberg.hadoop.HadoopFileIO",
            "jdbc.schema-version": "V1",
        }
        entries = "".join(
            f"<Entry><Item>{escape(name)}</Item><Item>{escape(value)}</Item></Entry>"
            for name, value in properties.items()
        )
        (run.folder / "server.xml").write_text(SERVER.format(host=LOOPBACK, port=self.port, properties=entries))
        self.restart()
        return f"{LOOPBACK}:{self.port}"

    def restart(self) -> None:
        """Start it on its tables, ended first if it runs; returns when it answers."""
        self.stop()
        assert self._run is not None
        command = [self._java().executable, "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-Dorg.eclipse.jetty.xml.XmlParser.Validating=false", "-cp", f"{JARS.folder}/*"]
        command += ["org.eclipse.jetty.xml.XmlConfiguration", str(self._run.folder / "server.xml")]
        process = self._run.spawn("iceberg-rest", command)
        self._begin(process, lambda one: one.wait_until(self._is_ready, seconds=READY_SECONDS))

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"{self.uri}/v1/config", timeout=5):
            return True

    def _java(self) -> Java:
        java = find_java(JAVA_VERSION_MIN)
        if java is None:
            raise ServerError(str(self.missing()))
        return java
