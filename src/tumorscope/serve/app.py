"""The web application: the API and the page."""

import asyncio
import hmac
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from tumorscope import RESEARCH_USE_ONLY, __version__
from tumorscope.errors import DataError
from tumorscope.images.slices import SliceChoice
from tumorscope.inference import Classifier
from tumorscope.serve import schema
from tumorscope.serve.api_docs import docs_routes
from tumorscope.serve.limits import AdmissionControl, Limits, RefusedRequestError, too_slow
from tumorscope.serve.line_response import LineResponse, unless_gone
from tumorscope.serve.middleware import RequestMiddleware
from tumorscope.serve.page_files import page_routes
from tumorscope.serve.service import BATCH_SIZE, Service
from tumorscope.serve.service_metrics import ServiceMetrics
from tumorscope.serve.uploads import read_files
from tumorscope.serve.views import Wanted

PAGE: Final = Path(__file__).parent / "page"

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
"""What a service that only this machine can reach is called."""

_RETRY_AFTER: Final = "1"

_Classify: TypeAlias = Callable[..., AsyncGenerator[schema.Answer]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The parameters that both operations share."""

    model: str | None
    choice: SliceChoice
    wanted: Wanted


async def asked(
    model: Annotated[
        str | None, Query(description="A model's id from /v1/model; the first when left out.")
    ] = None,
    heatmap: Annotated[
        Literal["png"] | None, Query(description="Adds where the network saw the label.")
    ] = None,
    picture: Annotated[
        Literal["png"] | None, Query(description="Adds the slice, as the model was shown it.")
    ] = None,
    axis: Annotated[
        Literal["axial", "coronal", "sagittal"] | None,
        Query(description="The plane volumes are cut in; else that of their acquisition."),
    ] = None,
    slices: Annotated[
        str | None, Query(description="Which slices of volumes: 10:20 (to 19), 7, all.")
    ] = None,
    volume: Annotated[
        int | None,
        Query(
            ge=0, le=1_000_000, description="Which volume of files or series of several, from 0."
        ),
    ] = None,
) -> Asked:
    """Read the parameters.

    Raises:
        RefusedRequestError: The slices cannot be understood.
    """
    try:
        choice = SliceChoice.parse(axis, slices, volume)
    except DataError as error:
        raise RefusedRequestError(422, str(error)) from None
    wanted = Wanted(heatmap=heatmap is not None, picture=picture is not None)
    return Asked(model=model, choice=choice, wanted=wanted)


def create_app(
    classifiers: Mapping[str, Classifier],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = LOCAL_NAMES,
    threads: int | None = None,
) -> FastAPI:
    """Make the application.

    Args:
        classifiers: The models by the id that requests name; the first is the default.
        limits: What it takes on.
        token: What requests to the API must bear; None for nothing.
        hosts: Names that it answers to; None for any.
        threads: How many threads read files; None for one a core.
    """
    admission_control = AdmissionControl(limits or Limits())
    metrics = ServiceMetrics(lambda: admission_control.inside)
    service = Service(classifiers, metrics, threads=threads)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The first run of a network is slow, and one of a full batch takes all the memory it needs.
        for classifier in classifiers.values():
            side = classifier.facts.input_size
            nothing = np.zeros((BATCH_SIZE, side, side), dtype=np.uint8)
            classifier.probabilities(nothing, batch_size=BATCH_SIZE)
        yield
        service.close()

    app = FastAPI(
        title="Tumorscope",
        version=__version__,
        description="Sorts brain MRI slices into glioma, meningioma, pituitary tumour, no tumour. "
        f"{RESEARCH_USE_ONLY} Uploads stay in memory and are gone after the answer.",
        license_info={"name": "Apache-2.0"},
        # (Their pages would load scripts from elsewhere.)
        docs_url=None,
        redoc_url=None,
        responses=schema.problems(421),
        lifespan=lifespan,
    )
    app.add_middleware(RequestMiddleware, metrics=metrics, hosts=hosts)
    app.add_exception_handler(RefusedRequestError, _refused)
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_exception_handler(HTTPException, _http_problem)
    needs = [Depends(_bearer(token))] if token else []
    unauthorised = schema.problems(401) if token else None
    app.include_router(_operations(service, admission_control), dependencies=needs)
    app.include_router(
        _facts(classifiers, admission_control.limits, metrics),
        dependencies=needs,
        responses=unauthorised,
    )
    app.include_router(_health(admission_control))
    app.routes.extend([*page_routes(PAGE), *docs_routes()])
    return app


def _operations(service: Service, admission_control: AdmissionControl) -> APIRouter:
    """Return what classifies files."""
    router = APIRouter(prefix="/v1/classify", tags=["classify"])
    limits = admission_control.limits

    async def answer(request: Request, what: Asked, classify: _Classify) -> Response:
        with ExitStack() as held:
            admission = held.enter_context(admission_control.enter())
            with admission_control.arrive():
                files = await read_files(request, admission, limits)
            held.enter_context(admission_control.work())
            answers = classify(files, model=what.model, choice=what.choice, wanted=what.wanted)
            if schema.LINES in request.headers.get("accept", ""):
                return LineResponse(answers, limits=limits, held=held.pop_all())
            async with _in_time(limits):
                return await unless_gone(request.receive, _array(answers))

    @router.post(
        "",
        responses=schema.SLICES,
        response_model=list[schema.SliceAnswer | schema.FileError],
        openapi_extra=schema.UPLOAD,
    )
    async def classify(request: Request, what: Annotated[Asked, Depends(asked)]) -> Response:
        """Classify files slice by slice; a file that cannot be read has its error in its place."""
        return await answer(request, what, service.slices)

    @router.post(
        "/volume",
        responses=schema.VOLUMES,
        response_model=list[schema.VolumeAnswer | schema.FileError],
        openapi_extra=schema.UPLOAD,
    )
    async def classify_volume(request: Request, what: Annotated[Asked, Depends(asked)]) -> Response:
        """Classify volumes and series as wholes: one answer each, with its slices' answers."""
        return await answer(request, what, service.volumes)

    return router


def _facts(
    classifiers: Mapping[str, Classifier], limits: Limits, metrics: ServiceMetrics
) -> APIRouter:
    """Return what tells of the models and of the work done."""
    router = APIRouter()
    card = schema.Card(
        tumorscope=__version__,
        notice=RESEARCH_USE_ONLY,
        limits=limits,
        models=[
            schema.ModelCard(
                id=name,
                title=classifier.facts.title,
                **asdict(classifier.facts) | {"confident": classifier.confident},
            )
            for name, classifier in classifiers.items()
        ],
    )

    @router.get("/v1/model", tags=["model"])
    async def model() -> schema.Card:
        """Tell what the models' files say about themselves."""
        return card

    @router.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
    async def scrape() -> Response:
        """Tell Prometheus of requests, their time and the verdicts."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _health(admission_control: AdmissionControl) -> APIRouter:
    """Return what tells whether the service works; anyone may ask."""
    router = APIRouter(tags=["operation"])

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> Response:
        """Tell that the process lives."""
        return PlainTextResponse("ok")

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", response_class=PlainTextResponse, responses={503: {}})
    async def readyz() -> Response:
        """Tell whether another request would be let in."""
        return (
            PlainTextResponse("ready") if admission_control.open else PlainTextResponse("busy", 503)
        )

    return router


def _bearer(token: str) -> Any:
    """Return what lets requests through that bear the token."""

    async def check(
        given: Annotated[
            HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
        ],
    ) -> None:
        """Compare in a time that does not tell how much of a guess was right."""
        text = given.credentials if given else ""
        if not hmac.compare_digest(text.encode(), token.encode()):
            raise RefusedRequestError(401, "this service wants a bearer token")

    return check


@asynccontextmanager
async def _in_time(limits: Limits) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limits.seconds):
            yield
    except TimeoutError:
        raise RefusedRequestError(503, too_slow(limits)) from None


async def _array(answers: AsyncGenerator[schema.Answer]) -> Response:
    """Return all answers as an array."""
    async with aclosing(answers):
        lines = [
            answer.json_line()
            async for answer in answers
            if not isinstance(answer, schema.Progress)
        ]
    return Response(b"[%s]" % b",".join(lines), media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedRequestError)
    headers = {"Retry-After": _RETRY_AFTER} if error.status in (429, 503) else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _problem(error.reason, error.status, headers)


async def _wrong_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = first["loc"][-1] if first["loc"] else "request"
    return _problem(f"parameter '{where}': {first['msg']}", 422)


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(str(error.detail), error.status_code, error.headers)


def _problem(reason: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(schema.Problem(error=reason).model_dump(), status, headers)
