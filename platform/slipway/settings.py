"""Django settings. The environment is read by slipway.env; slipway.checks says what is wrong with it, in words."""

from typing import Any

from celery.schedules import crontab
from psycopg.conninfo import conninfo_to_dict
from redis.backoff import NoBackoff
from redis.retry import Retry

from slipway import env as environment
from slipway import logs
from slipway.database import Connection
from workers.contracts import names

ENV = environment.read()
ROOT = environment.ROOT
DEBUG = ENV.debug

# --- This installation ---
SLIPWAY_HOME = ENV.home
SLIPWAY_URL = ENV.url
SLIPWAY_PREDICT_URL = ENV.predict_url
SLIPWAY_STORAGE = ENV.storage
SLIPWAY_LOCAL = ENV.local
REDIS_URL = ENV.redis_url or ""

# With an external database the installation may have several web processes, and a key of its own for each would end
# every session at random: then the key has to be given (slipway.E001).
SECRET_KEY = ENV.secret_key or (environment.installation_secret(ENV.home) if ENV.local else "")

# --- Applications ---
INSTALLED_APPS = [
    "slipway.apps.SlipwayConfig",
    "apps.core",
    "apps.teams",
    "apps.projects",
    "apps.datasets",
    "apps.training",
    "apps.registry",
    "apps.endpoints",
    "apps.usage",
    "apps.predictions",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "apps.core.request_id.RequestIdMiddleware",
    "slipway.headers.SecurityHeadersMiddleware",
    "apps.core.errors.GateMiddleware",
    "apps.core.asking.HeadMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.sessions.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "apps.core.errors.ErrorMiddleware",
]
CSRF_FAILURE_VIEW = "apps.core.errors.csrf_failure"
ROOT_URLCONF = "slipway.urls"
ASGI_APPLICATION = "slipway.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Database and cache ---


def _database(url: str) -> dict[str, Any]:
    """Django's form of a libpq URL; what Django has no field for (sslmode, …) goes to OPTIONS."""
    parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    fields = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    settings: dict[str, Any] = {key: parts.pop(name, "") for key, name in fields.items()}
    # A slow query is a bug, and an idle transaction holds locks: end both rather than let everyone queue behind them.
    limits = f"-c statement_timeout={ENV.statement_timeout_s}s -c idle_in_transaction_session_timeout=60s"
    parts["options"] = f"{parts.get('options', '')} {limits}".strip()
    # A server that vanished with its machine says nothing: what was sent and not received ends the connection.
    silence = {"connect_timeout": "5", "tcp_user_timeout": "10000", "keepalives_idle": "10", "keepalives_interval": "5"}
    # Under ASGI each request has its own thread, so persistent connections would be opened anew: a pool instead. Who
    # gets none for as long as a restart takes is told so. By itself the pool would try ever more rarely, for minutes
    # after Postgres is back.
    pool: dict[str, Any] = {"min_size": 0, "max_size": 20, "timeout": 5, "reconnect_timeout": 5}
    if ENV.statement_timeout_s:
        pool["connection_class"] = Connection
    return {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {**silence, **parts, "pool": pool}, **settings}


# Where nothing is known of a database (slipway.W001), connecting fails and says so; commands without one still work.
DATABASES = {"default": _database(ENV.database_url or "postgresql://slipway@127.0.0.1:1/slipway")}
# Shared by all web processes: the login rate limits live here. Whoever waits longer than two seconds waits in vain.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": Retry(NoBackoff(), 1)},
    }
}

# --- Who may talk to it ---
_host = SLIPWAY_URL.split("://")[1].rsplit(":", 1)[0]
ALLOWED_HOSTS = sorted({_host, "127.0.0.1", "localhost", "[::1]"})
_https = SLIPWAY_URL.startswith("https://")
CSRF_TRUSTED_ORIGINS = [SLIPWAY_URL]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _https
# The __Host- prefix keeps a sibling host from planting cookies; browsers accept it over HTTPS only.
SESSION_COOKIE_NAME = "__Host-sessionid" if _https else f"slipway_session_{ENV.port}"
CSRF_COOKIE_NAME = "__Host-csrftoken" if _https else f"slipway_csrf_{ENV.port}"
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENV.proxies else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Accounts ---
AUTH_USER_MODEL = "teams.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
_VALIDATION = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"{_VALIDATION}.UserAttributeSimilarityValidator"},
    {"NAME": f"{_VALIDATION}.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": f"{_VALIDATION}.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]  # the form can show what is typed: no second field
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_SIGNUP_FORM_CLASS = "apps.teams.adapter.TeamFields"
ACCOUNT_ADAPTER = "apps.teams.adapter.Adapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
# Nobody learns from an answer whether an address has an account.
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_UNIQUE_EMAIL = True
# Without a mail server the message goes to the log of the web process: to be followed, but not waited for.
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if ENV.mail else "optional"
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if _https else "http"
ALLAUTH_TRUSTED_PROXY_COUNT = ENV.proxies
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]

# --- Mail ---
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.mail_from
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if ENV.mail else 'console'}.EmailBackend"
EMAIL_TIMEOUT = 10
if ENV.mail:
    EMAIL_HOST, EMAIL_PORT = ENV.mail.host, ENV.mail.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = ENV.mail.user, ENV.mail.password
    EMAIL_USE_TLS, EMAIL_USE_SSL = ENV.mail.security == "starttls", ENV.mail.security == "tls"

# --- Languages and time ---
USE_I18N = USE_TZ = True
LANGUAGE_CODE, TIME_ZONE = "en", "UTC"
LANGUAGES = [("en", "English")]
LOCALE_PATHS = [ROOT / "locale"]

# --- Static files: ours, and the npm packages' (slipway.static.VENDOR_FILES) ---
STATIC_URL = "/static/"
STATIC_ROOT = ENV.home / "static"
STATICFILES_DIRS = [ROOT / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "slipway.static.PackageFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},  # unused: artifacts are in SLIPWAY_STORAGE
    "staticfiles": {"BACKEND": "slipway.static.StaticStorage"},
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG

# --- Uploads ---
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
SLIPWAY_MAX_UPLOAD_BYTES = ENV.max_upload_bytes
SLIPWAY_TEAM_BYTES = ENV.team_bytes
SLIPWAY_CACHE_BYTES = ENV.cache_bytes
SLIPWAY_IMPORTS = ENV.imports
SLIPWAY_LEDGER_DAYS = ENV.ledger_days
SLIPWAY_GPU_HOUR_PRICE = ENV.gpu_hour_price
SLIPWAY_CPU_HOUR_PRICE = ENV.cpu_hour_price
SLIPWAY_CURRENCY = ENV.currency
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 2**20  # form and JSON bodies; files stream to disk

# --- Control API ---
REST_FRAMEWORK = {
    # `format` asks for a file format (see datasets); answers are JSON whatever is asked.
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.teams.authentication.TokenAuthentication",
        "apps.teams.authentication.SessionAuthentication",  # CSRF enforced
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.core.parsers.JsonParser"],
    "DEFAULT_SCHEMA_CLASS": "apps.core.schema.Schema",
    "DEFAULT_METADATA_CLASS": "apps.core.asking.NoMetadata",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.core.asking.OneAnswer",
    "EXCEPTION_HANDLER": "apps.core.api.exception_handler",
    "NUM_PROXIES": ENV.proxies,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Slipway control API",
    "DESCRIPTION": "Datasets, training jobs, models and endpoints of a Slipway installation.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "/static/vendor/swagger-ui",
    "SWAGGER_UI_FAVICON_HREF": None,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "EndpointState": "apps.endpoints.status.STATES",
        "DatasetKind": "apps.datasets.models.Kind",
        "JobKind": "apps.training.models.Job.Kind",
        "JobState": "apps.training.models.Job.State",
        "DatasetState": "apps.datasets.models.DatasetVersion.State",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.core.schema.add_errors",
    ],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
}

# --- Celery: the control plane's own queue; runners are reached by task name and queue ---
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_DEFAULT_QUEUE = names.QUEUE_CONTROL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Without time limits, a request that queues a job would wait for a Redis that has vanished.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 3, "socket_connect_timeout": 3, "max_retries": 0}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TASK_TIME_LIMIT = 600
CELERY_BEAT_SCHEDULER = "slipway.beat:Scheduler"
CELERY_BEAT_SCHEDULE_FILENAME = str(ENV.home / "beat" / "schedule")
CELERY_BEAT_SCHEDULE = {
    "reap lost jobs": {"task": "training.reap", "schedule": 5.0},
    "judge candidates": {"task": "endpoints.judge_candidates", "schedule": 2.0},
    "publish routes and keys": {"task": "endpoints.publish_snapshot", "schedule": 5.0},
    "forget expired uploads": {"task": "datasets.forget_uploads", "schedule": crontab(minute="41")},
    "tidy the store": {"task": "datasets.tidy_store", "schedule": crontab(hour="4", minute="37")},
    "remove what was long in the trash": {"task": "datasets.remove_trashed", "schedule": crontab(minute="29")},
    "ask serving processes for their counts": {"task": "usage.count_gateways", "schedule": 5.0},
    "warn of used up quotas": {"task": "usage.warn", "schedule": 30.0},
    "export the ledger": {"task": "usage.export", "schedule": crontab(minute="7")},
    "forget old predictions": {"task": "predictions.retention", "schedule": crontab(minute="53")},
    "forget old usage records": {"task": "usage.retention", "schedule": crontab(hour="3", minute="17")},
}
# A beat that was away does not send what it missed twice: each task expires before its next turn.
for _entry in CELERY_BEAT_SCHEDULE.values():
    if isinstance(_entry["schedule"], float):
        _entry["options"] = {"expires": _entry["schedule"]}

LOGGING = logs.config(json=not DEBUG)
