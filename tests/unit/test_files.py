"""What a generation's directories are found to hold."""

from litellm_proxy_files import files_below


def test_mode_and_checksum_by_path_below_the_directories() -> None:
    files = [
        {"path": "/etc/p/generations/aa/config.yaml", "mode": "0640", "checksum": "1"},
        {"path": "/etc/p/plugins/cc/glm_pool/auth.py", "mode": "0644", "checksum": "2"},
        {"path": "/etc/p/generations/aab/config.yaml", "mode": "0640", "checksum": "3"},
    ]
    assert files_below(files, ["/etc/p/generations/aa", "/etc/p/plugins/cc"]) == {
        "config.yaml": "0640 1",
        "glm_pool/auth.py": "0644 2",
    }


def test_nothing_where_nothing_was_found() -> None:
    assert files_below([], ["/etc/p/generations/aa"]) == {}
