"""The words of a text, folded: one spelling for each meaning, whatever form, case or language it was written in.

`hasn't been authorised` and `not authorized` are alike, `API-Key` and `api_key`, `токен` and `token`. Nothing here
knows what the words mean for a judgement.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from unicodedata import normalize

_FOLD: Final[Mapping[str, str]] = MappingProxyType(
    {
        variant: word
        for word, variants in {
            "not": "doesnt dont didnt isnt arent wasnt werent hasnt havent cannot cant couldnt wont unable never "
            "neither nor without lacks lack lacking",
            "permission": "permissions privilege privileges perms entitlement entitlements",
            "scope": "scopes",
            "role": "roles",
            "request": "requests req",
            "call": "calls",
            "query": "queries",
            "limit": "limits limited limiting limitation ratelimited",
            "credential": "credentials creds",
            "token": "tokens authtoken accesstoken tokenid",
            "authorized": "authorised authorize authorise authorizing",
            "unauthorized": "unauthorised unauthorize",
            "authorization": "authorisation",
            "authenticated": "authenticate authenticating",
            "reauthorize": "reauthorise reauthorization reauthorisation reauth",
            "reauthenticate": "reauthentication",
            "database": "db",
            "certificate": "cert certs certificates",
            "license": "licence licences licenses licensing licencing",
            "licensed": "licenced",
            "throttle": "throttled throttling throttles throttler",
            "exceed": "exceeded exceeds exceeding exceedd over surpassed overused",
            "reach": "reached reaches hit hits",
            "expired": "expires expire expiration expiry",
            "revoked": "revoke revokes invalidated",
            "disabled": "disable",
            "enabled": "enable enabling",
            "deactivated": "deactivate",
            "suspended": "suspend suspension",
            "inactive": "inactivated",
            "locked": "lock lockout",
            "invalid": "illegal",
            "incorrect": "wrong mistaken",
            "denied": "deny denies",
            "require": "requires required requiring needs need needed",
            "missing": "absent",
            "quota": "quotas",
            "concurrent": "concurrency simultaneous parallel concurrently simultaneously",
            "connection": "connections",
            "attempt": "attempts",
            "operation": "operations",
            "invocation": "invocations",
            "second": "seconds sec secs",
            "minute": "minutes min mins",
            "hour": "hours hourly",
            "account": "accounts",
            "organization": "organisation org organizations",
            "admin": "administrator administrators admins",
            "subscription": "subscriptions subscribe subscribed",
            "plan": "plans",
            "cursor": "cursors",
            "credit": "credits",
            "feature": "features",
            "failed": "fail fails failure failing unsuccessful",
            "maintenance": "maintainance",
            "overloaded": "overload overloading",
            "timeout": "timeouts timedout",
            "user": "users",
            "recognized": "recognised recognize",
            "allowlist": "whitelist allowlisted whitelisted",
            "exhausted": "exhaust depleted",
            "error": "err errors",
            "signature": "signatures sig",
            "clientid": "appid",
            "apikey": "apikeys accesskey secretkey appkey accesskeyid",
        }.items()
        for variant in variants.split()
    }
)
_ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        variant: word
        for word, variants in {
            "permission": "permiso permisos permissao permissoes berechtigung berechtigungen permessi",
            "request": "solicitudes solicitud peticiones peticion requisicoes requisicao requetes requete anfragen "
            "anfrage richieste chamadas llamadas appels zapytan verzoeken istek",
            "limit": "limite begrenzung limiet",
            "credential": "credenciales credenciais zugangsdaten identifiants credenziali",
            "token": "jeton",
            "authorized": "autorizado autorise autorisiert autorizzato",
            "exceed": "excedido excedida excedeu depasse depassee uberschritten superato superado superada "
            "overschreden przekroczono przekroczony asildi excedidos excedidas",
            "expired": "expirado expirada caducado caducada abgelaufen scaduto scaduta vencido vencida verlopen",
            "disabled": "desactivado desativado deaktiviert",
            "invalid": "invalido invalida invalide ungultig ungultige ongeldig ongeldige invalidas invalidos invalidi "
            "ungultiger ungultiges ungultigen ogiltig ogiltigt ogiltiga ugyldig ugyldigt gecersiz nieprawidowy "
            "nieprawidowa nieprawidowe",
            "denied": "denegado denegada negado negada refuse verweigert negato negata",
            "incorrect": "falsch falsche falsches incorrects incorrectes incorrecto incorrecta incorrecte "
            "incorreto incorreta errato errata",
            "quota": "cuota cota kontingent",
            "failed": "echoue echec fehlgeschlagen fallido fallida falhou fallito",
            "maintenance": "mantenimiento manutencao wartung wartungsarbeiten manutenzione",
            "user": "usuario utilisateur benutzer utente gebruiker",
            "error": "erro erros errore erreur fehler",
            "toomany": "demasiadas demasiados muitas muitos trop troppe troppi",
            "password": "senha contrasena passwort kennwort",
            "access": "acceso acesso acces accesso zugriff accessos acessos",
            "server": "servidor serveur",
            "missing": "saknas mangler puuttuu brakuje",
            "not": "inte ikke",
            "unavailable": "indisponivel indisponible",
        }.items()
        for variant in variants.split()
    }
)
"""Portuguese, Spanish, French, German, Italian and Dutch words, without their accents."""
_PAIRS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "api": {
            "schlussel": "apikey",
            "sleutel": "apikey",
            "nyckel": "apikey",
            "nokkel": "apikey",
            "anahtari": "apikey",
            "key": "apikey",
            "keys": "apikey",
            "token": "token",
            "tokens": "token",
        },
        "access": {"key": "apikey", "keys": "apikey", "token": "token", "tokens": "token", "control": "permission"},
        "authorization": {"key": "apikey"},
        "consumer": {"key": "apikey"},
        "developer": {"key": "apikey"},
        "subscribe": {"key": "apikey"},
        "publish": {"key": "apikey"},
        "app": {"id": "clientid", "key": "apikey"},
        "application": {"key": "apikey"},
        "subscription": {"key": "apikey"},
        "refresh": {"token": "token"},
        "bearer": {"token": "token"},
        "auth": {"token": "token", "key": "apikey"},
        "secret": {"key": "apikey"},
        "client": {"secret": "credential", "id": "clientid", "credential": "credential", "credentials": "credential"},
        "user": {"name": "username", "agent": "useragent"},
        "log": {"in": "login", "on": "login"},
        "sign": {"in": "login", "on": "login"},
        "logged": {"in": "login"},
        "logga": {"in": "login"},
        "logg": {"inn": "login"},
        "signed": {"in": "login"},
        "allow": {"list": "allowlist"},
        "white": {"list": "allowlist"},
        "timed": {"out": "timeout"},
        "time": {"out": "timeout"},
        "rate": {"limited": "ratelimit", "limit": "ratelimit", "limits": "ratelimit", "limiting": "ratelimit"},
        "ratelimit": {"ed": "ratelimit"},
        "web": {"token": "token"},
        "page": {"token": "pagetoken", "cursor": "pagetoken"},
        "continuation": {"token": "pagetoken"},
        "pagination": {"token": "pagetoken", "cursor": "pagetoken"},
        "next": {"token": "pagetoken"},
        "sync": {"token": "pagetoken"},
        "resumption": {"token": "pagetoken"},
        "delta": {"token": "pagetoken"},
        "skip": {"token": "pagetoken"},
        "scroll": {"id": "pagetoken", "token": "pagetoken"},
        "service": {"account": "account", "key": "apikey"},
        "json": {"web": "jwt"},
        "no": {"autorizado": "unauthorized", "autorizada": "unauthorized"},
        "nao": {"autorizado": "unauthorized", "encontrado": "notfound"},
        "nicht": {"autorisiert": "unauthorized", "berechtigt": "unauthorized", "gefunden": "notfound"},
        "non": {"autorise": "unauthorized", "autorizzato": "unauthorized", "trouve": "notfound"},
        "zu": {"viele": "toomany"},
        "cle": {"api": "apikey", "dapi": "apikey", "d": "cle"},
        "clave": {"api": "apikey", "de": "clave"},
        "chave": {"api": "apikey", "de": "chave"},
    }
)
# Plain dictionaries: a read-only view takes twice as long, and this is asked of every word.
_FOLDED: Final[dict[str, str]] = {**_ELSEWHERE, **_FOLD}
_PAIRED: Final[dict[str, Mapping[str, str]]] = {first: dict(second) for first, second in _PAIRS.items()}
_STOP: Final = "\x01"
"""Stands for the end of a sentence while a text is taken apart."""
_FOLDED[_STOP] = "."
_ENDS: Final = ("\n", "\r", ". ", "; ", "! ", "? ", '."', ';"', '!"', '?"')
_APART: Final = {code: " " for code in range(128) if not chr(code).isalnum()} | {ord("'"): None, ord(_STOP): _STOP}
_LONGEST_TEXT: Final = 480
_LONGEST_CODE: Final = 120


def _raw_words(text: str) -> list[str]:
    """Return the words of an ASCII text in lower case, with the mark of a stop where a sentence ends.

    By plain replacing and splitting, which takes half the time of a regular expression.
    """
    for end in _ENDS:
        if end in text:
            text = text.replace(end, f" {_STOP} ")
    if text[-1:] in {".", ";", "!", "?"}:
        text = f"{text} {_STOP}"
    return text.translate(_APART).split()


def _fold(raw: list[str]) -> tuple[str, ...]:
    """Return words in their one spelling, pairs of them (`api key`) as one."""
    pairs = _PAIRED
    if pairs.keys().isdisjoint(raw):
        return tuple(map(_FOLDED.get, raw, raw))
    folded_words = list(map(_FOLDED.get, raw, raw))
    starts = [at for at, word in enumerate(raw) if word in pairs]
    count = len(raw)
    last = -1
    for start in starts:
        if start <= last:
            continue
        word, at = raw[start], start + 1
        while at < count and word in pairs and raw[at] in pairs[word]:
            word = pairs[word][raw[at]]
            folded_words[start], folded_words[at] = word, ""
            last = at
            at += 1
    return tuple(filter(None, folded_words)) if last >= 0 else tuple(folded_words)


_FOREIGN: Final[Mapping[str, str]] = MappingProxyType(
    {
        spelling: english
        for english, spellings in {
            "expired": "过期,失效,期限切れ,期限が切れ,만료,истек,истёк,просрочен",
            "invalid": "无效,非法,不合法,不正,無効,유효하지,잘못된,неверн,недействител,некорректн,неправильн",
            "unauthorized": "未授权,未经授权,неавторизован,не авторизован",
            "not login": "未登录,未登陆,尚未登录",
            "login again": "重新登录",
            "please login": "请先登录,请登录",
            "require login": "需要登录",
            "login": "登录,登陆,ログイン,로그인,логин",
            "token": "令牌,トークン,토큰,токен",
            "apikey": "密钥,秘钥,인증키,서비스키,ключ",
            "signature": "签名,署名,서명,подпис",
            "error": "错误,エラー,오류,에러,ошибк",
            "exception": "异常",
            "failed": "失败,失敗,실패,не удалось",
            "authentication": "认证,鉴权,認証,인증,авторизац,аутентификац",
            "password": "密码,パスワード,비밀번호,парол",
            "no permission": "无权限,没有权限,无权,権限がありません,권한이 없,нет прав",
            "insufficient permission": "权限不足,недостаточно прав",
            "permission": "权限,権限,권한",
            "access denied": "拒绝访问,アクセスが拒否,접근이 거부,доступ запрещ",
            "no access": "нет доступа",
            "not": "没有,ありません,않은",
            "not exist": "不存在",
            "registered": "登録,등록되지",
            "account": "账号,账户,アカウント,계정,аккаунт",
            "disabled": "禁用,停用,封禁",
            "blocked": "x заблокирован",
            "too frequently": "频繁,слишком часто",
            "too many request": "请求过多,次数过多,слишком много запрос",
            "limit exceed": "超限,上限を超,制限を超,제한을 초과,제한을 넘,한도를 초과,한도 초과,превышен",
            "exceed": "超出,超过,超過,초과",
            "limit": "上限,制限,제한,лимит",
            "throttle": "限流,流控",
            "quota": "配额,限额,квот",
            "request": "请求,调用,リクエスト,요청,запрос",
            "temporarily": "暂时,一時的",
            "request frequency": "频率,频次",
            "insufficient balance": "余额不足",
            "system": "系统,システム,시스템,систем",
            "busy": "繁忙",
            "server": "服务器,サーバ,서버,сервер",
            "service unavailable": "服务不可用,недоступ",
            "database": "数据库,データベース,데이터베이스",
            "internal": "内部,내부,внутрен",
            "maintenance": "维护,メンテナンス,점검,технические работы,техническ обслуживан",
            "timeout": "超时,タイムアウト",
            "no data found": "没有数据,暂无数据,データがありません,데이터가 없,нет данных",
            "not found": "找不到,見つかりません,찾을 수 없,не найден",
            "parameter": "参数,パラメータ,파라미터,параметр",
        }.items()
        for spelling in spellings.split(",")
    }
)
"""What vendors write in Chinese, Japanese, Korean and Russian of credentials, throttling, their own faults and empty
results, in the words of the phrases. Other languages are folded word by word, without their accents."""
_FOREIGN_WORD: Final = re.compile("|".join(sorted(_FOREIGN, key=len, reverse=True)))
_WIDE_ENDS: Final = str.maketrans({0x3002: ". ", 0xFF0C: ", ", 0xFF1B: "; ", 0xFF01: "! ", 0xFF1F: "? "})


def _in_latin(text: str) -> str:
    """Return a text of another script or with accents in words that can be compared."""
    if _FOREIGN_WORD.search(text) is not None:
        text = _FOREIGN_WORD.sub(lambda found: f" {_FOREIGN[found.group()]} ", text.translate(_WIDE_ENDS))
    return normalize("NFKD", text.replace("\u2019", "'")).encode("ascii", "ignore").decode()


_LINK: Final = re.compile(r"\bhttps?://[^\s\"'<>()]{1,300}")
"""Where more stands to read: `required: https://…` asks for no other protocol."""


_LONGEST_ADDRESS: Final = 80
"""Of somebody: `username@example.com is not valid` says nothing of a user's name."""


def words_of(text: str) -> tuple[str, ...]:
    """Return a text's folded words, with `.` where a sentence ends. Reads its first 480 characters."""
    read = text[:_LONGEST_TEXT].lower()
    if "://" in read:
        read = _LINK.sub(" ", read)
    if "@" in read:
        read = " ".join(word for word in read.split(" ") if "@" not in word or len(word) > _LONGEST_ADDRESS)
    if not read.isascii():
        read = _in_latin(read)
    return _fold(_raw_words(read))


_CAMEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|[0-9]+")


@lru_cache(maxsize=4096)
def words_of_code(code: str) -> tuple[str, ...]:
    """Return a machine code's folded words: `RateLimitExceeded`, `rate.limit_exceeded` and `RATE-LIMIT…` are alike."""
    return _fold([word.lower() for word in _CAMEL.findall(code[:_LONGEST_CODE])])


def folded(word: str) -> str:
    """Return the one spelling of a word."""
    return _FOLDED.get(word, word)
