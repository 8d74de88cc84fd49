"""A foreign client of the tus protocol sends a file to the deployed web process."""

import io
from pathlib import Path

from tusclient.client import TusClient

from apps.core.artifacts import storage
from apps.datasets.models import Upload
from tests.cast import Cast, make_token


def test_tuspy_uploads_a_file_in_chunks_and_resumes(web_server: str, cast: Cast, tmp_path: Path) -> None:
    data = bytes(range(256)) * 40_000  # 10 MB
    client = TusClient(f"{web_server}/api/v1/uploads", headers={"Authorization": f"Bearer {make_token(cast.bob)}"})
    first = client.uploader(
        file_stream=io.BytesIO(data), chunk_size=3_000_000, metadata={"filename": "ten megabytes.bin"}
    )
    first.upload_chunk()
    assert Upload.objects.get().offset == 3_000_000
    # Another process, days later: it knows the address and asks how far the upload is.
    second = client.uploader(file_stream=io.BytesIO(data), chunk_size=4_000_000, url=first.url)
    assert second.offset == 3_000_000
    second.upload()
    upload = Upload.objects.get()
    assert upload.finished and upload.filename == "ten megabytes.bin"
    assert storage().read_bytes(upload.key) == data
    assert list((tmp_path / "uploads").iterdir()) == []
