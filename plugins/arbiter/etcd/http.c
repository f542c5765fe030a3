// SPDX-License-Identifier: Apache-2.0
//
// One request by libcurl, on a worker. What must be known of each that failed is whether it can have gone out.
#include "etcd.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(LIBCURL_VERSION_NUM) && LIBCURL_VERSION_NUM < 0x075000
#error "libcurl 7.80 or newer is needed: older ones do not tell when a request goes out"
#endif

struct etcd_wire {
    CURL *curl;
    char why[CURL_ERROR_SIZE];
};

// libcurl's own state is the process's; it is set up once, whatever other instances there are.
static pthread_once_t set_up_once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void set_tls(CURL *curl, const struct etcd_settings *settings)
{
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (settings->ca[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_CAINFO, settings->ca);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    if (settings->cert[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_SSLCERT, settings->cert);
        curl_easy_setopt(curl, CURLOPT_SSLKEY, settings->key);
    }
}

struct etcd_wire *etcd_wire_new(const struct etcd_settings *settings)
{
    struct etcd_wire *wire = calloc(1, sizeof *wire);

    pthread_once(&set_up_once, set_up);
    if (wire == NULL || (wire->curl = curl_easy_init()) == NULL) {
        free(wire);
        return NULL;
    }
    curl_easy_setopt(wire->curl, CURLOPT_ERRORBUFFER, wire->why);
    curl_easy_setopt(wire->curl, CURLOPT_NOSIGNAL, 1L);
    // The environment of the daemon must not send the pair's decisions elsewhere.
    curl_easy_setopt(wire->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(wire->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(wire->curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(wire->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(wire->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(wire->curl, CURLOPT_POST, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(wire->curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(wire->curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    // A name server that does not answer must not hold the worker beyond the deadline.
    curl_easy_setopt(wire->curl, CURLOPT_QUICK_EXIT, 1L);
#endif
    set_tls(wire->curl, settings);
    return wire;
}

void etcd_wire_free(struct etcd_wire *wire)
{
    if (wire == NULL)
        return;
    curl_easy_cleanup(wire->curl);
    free(wire);
}

// ---- what libcurl calls

struct exchange {
    const struct etcd_request *request;
    struct etcd_response *response;
    bool shut, too_long;
};

static int about_to_send(void *arg, char *primary_ip, char *local_ip, int primary_port,
                         int local_port)
{
    struct exchange *exchange = arg;

    (void)primary_ip;
    (void)local_ip;
    (void)primary_port;
    (void)local_port;
    if (exchange->request->go != NULL && !exchange->request->go(exchange->request->arg)) {
        exchange->shut = true;
        return CURL_PREREQFUNC_ABORT;
    }
    exchange->response->sent++;
    return CURL_PREREQFUNC_OK;
}

static size_t take_bytes(char *bytes, size_t one, size_t count, void *arg)
{
    struct exchange *exchange = arg;
    struct etcd_response *response = exchange->response;
    size_t length = one * count;
    char *room;

    if (length > ETCD_BODY_BYTES - response->length) {
        exchange->too_long = true;
        return 0; // ends the transfer
    }
    room = realloc(response->body, response->length + length + 1);
    if (room == NULL)
        return 0; // ends the transfer
    memcpy(room + response->length, bytes, length);
    response->body = room;
    response->length += length;
    room[response->length] = '\0';
    return length;
}

// ---- one request

static struct curl_slist *headers_of(const struct etcd_request *request)
{
    char token[ETCD_TOKEN_BYTES + 32];
    struct curl_slist *headers, *more;

    headers = curl_slist_append(NULL, "Content-Type: application/json");
    more = headers ? curl_slist_append(headers, "Expect:") : NULL;
    if (more != NULL && request->token[0] != '\0') {
        snprintf(token, sizeof token, "Authorization: %s", request->token);
        more = curl_slist_append(headers, token);
    }
    if (more == NULL) {
        curl_slist_free_all(headers);
        return NULL;
    }
    return headers;
}

static CURLcode perform(struct etcd_wire *wire, const struct etcd_request *request,
                        struct exchange *exchange)
{
    struct curl_slist *headers = headers_of(request);
    char url[ETCD_URL_BYTES + 64];
    CURLcode code;

    if (headers == NULL)
        return CURLE_OUT_OF_MEMORY;
    snprintf(url, sizeof url, "%s%s", request->endpoint, request->path);
    curl_easy_setopt(wire->curl, CURLOPT_URL, url);
    curl_easy_setopt(wire->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(wire->curl, CURLOPT_POSTFIELDS, request->body);
    curl_easy_setopt(wire->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
    curl_easy_setopt(wire->curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(wire->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(wire->curl, CURLOPT_PREREQFUNCTION, about_to_send);
    curl_easy_setopt(wire->curl, CURLOPT_PREREQDATA, exchange);
    curl_easy_setopt(wire->curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(wire->curl, CURLOPT_WRITEDATA, exchange);
    code = curl_easy_perform(wire->curl);
    curl_easy_setopt(wire->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return code;
}

void etcd_wire_ask(struct etcd_wire *wire, const struct etcd_request *request,
                   struct etcd_response *response)
{
    struct exchange exchange = {.request = request, .response = response};
    const char *why;
    CURLcode code;

    memset(response, 0, sizeof *response);
    wire->why[0] = '\0';
    code = perform(wire, request, &exchange);
    curl_easy_getinfo(wire->curl, CURLINFO_RESPONSE_CODE, &response->status);
    response->answered = code == CURLE_OK && response->body != NULL;
    if (response->answered)
        return;
    why = exchange.shut       ? "the time was over before it could be asked"
          : exchange.too_long ? "its answer is too long for etcd's"
          : code == CURLE_OK  ? "its answer is empty"
          : wire->why[0]      ? wire->why
                              : curl_easy_strerror(code);
    snprintf(response->cause, sizeof response->cause, "%.100s: %.150s", request->endpoint, why);
}

void etcd_response_free(struct etcd_response *response)
{
    free(response->body);
    response->body = NULL;
}
