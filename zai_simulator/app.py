"""The web application: which path is which endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from . import anthropic_api, openai_api
from .anthropic_api import AnthropicDialect
from .config import PLANS, Config
from .control_api import PREFIX as CONTROL_PREFIX
from .control_api import ControlApi
from .dialect import Dialect
from .errors import Refusal, refusal
from .gateway import Endpoint, Gateway, MakeReply, new_record
from .openai_api import OpenAIDialect
from .state import State

GENERAL = "/api/paas/v4"
CODING = "/api/coding/paas/v4"
ANTHROPIC = "/api/anthropic"

LARGEST_BODY = 256 * 1024 * 1024


def make_app(config: Config) -> web.Application:
    """Make the application that serves both APIs and the control API from one table."""
    state = State(config)
    gateway = Gateway(state)
    openai, anthropic = OpenAIDialect(), AnthropicDialect()
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_not_found(state)])
    ControlApi(state).add_routes(app)

    def answers(path: str, endpoint: Endpoint) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await gateway.answer(request, endpoint)

        app.router.add_post(path, handle)

    def replies(method: str, path: str, endpoint: Endpoint, make: MakeReply) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await gateway.reply(request, endpoint, make)

        app.router.add_route(method, path, handle)

    def count_tokens(body: object) -> Mapping[str, object]:
        if not isinstance(body, Mapping):
            raise refusal("1210", field="The body is not a JSON object.")
        return {"input_tokens": anthropic.parse_for_counting(body).tokens}

    for base, plan in ((GENERAL, "general"), (CODING, "coding")):
        answers(f"{base}/chat/completions", Endpoint(openai, (plan,)))
        listed = Endpoint(openai, (plan,), asks=False)
        replies("GET", f"{base}/models", listed, lambda _: openai_api.model_list())
    answers(f"{ANTHROPIC}/v1/messages", Endpoint(anthropic, PLANS, x_api_key=True))
    other = Endpoint(anthropic, PLANS, x_api_key=True, asks=False)
    replies("POST", f"{ANTHROPIC}/v1/messages/count_tokens", other, count_tokens)
    replies("GET", f"{ANTHROPIC}/v1/models", other, lambda _: anthropic_api.model_list())
    return app


def _not_found(state: State) -> Middleware:
    """Return the middleware that answers wrong paths and methods in the API's own style."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            dialect: Dialect = OpenAIDialect()
            if request.path.startswith(f"{ANTHROPIC}/"):
                dialect = AnthropicDialect()
            if not request.path.startswith(f"{CONTROL_PREFIX}/"):
                record = new_record(request, asks=False)
                state.stats.begin(record)
                state.stats.not_found(record, error.status)
            text = f"{error.reason}: {request.method} {request.path}"
            body = dialect.error(Refusal(str(error.status), error.status, text), "")
            return web.json_response(body, status=error.status)

    return middleware
