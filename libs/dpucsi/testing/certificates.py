"""Certificates made on the spot for the one hop that goes over TCP."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """One CA and a pair for each end of the hop between Host and DPU; key files are 0600."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> "Certificates":
        """Writes ca.pem, host.pem, host.key, dpu.pem and dpu.key for 127.0.0.1, localhost and `names`."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        for end in ("host", "dpu"):
            issued = authority.issue_cert("127.0.0.1", "localhost", *names, common_name=f"dpucsi lab {end}")
            key = folder / f"{end}.key"
            key.touch(mode=0o600)
            key.write_bytes(issued.private_key_pem.bytes())
            issued.cert_chain_pems[0].write_to_path(str(folder / f"{end}.pem"))
        return cls(folder)

    def options(self, end: str) -> list[str]:
        """The command-line options of one end, "host" or "dpu"."""
        files = {"ca": "ca.pem", "cert": f"{end}.pem", "key": f"{end}.key"}
        return [word for name, file in files.items() for word in (f"--tls-{name}", str(self.folder / file))]
