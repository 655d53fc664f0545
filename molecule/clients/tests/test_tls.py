"""What else there is to TLS; all features are seen over it in the files of their clients."""

import pytest
from workstation_support import Workstation


@pytest.mark.usefixtures("certificate")
def test_a_client_that_does_not_trust_the_authority_sends_nothing() -> None:
    script = 'unset CURL_CA_BUNDLE SSL_CERT_FILE; curl --silent --show-error "$OPENAI_BASE_URL/models"'
    done = Workstation("https").run(script)
    assert done.returncode == 60
    assert "certificate" in done.stderr
