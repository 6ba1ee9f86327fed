// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See exchange_log.h. The lines are such as
//   2020-11-27T09:34:39.159Z,SRV\Default,08D8,39,10.0.0.1:25,192.0.2.7:543,*,Tarpit for
//   '0.00:00:05',
// and "Tarpit for '0.00:00:05' due to '550 5.1.1 User unknown'"; where the why is missing the first
// refusal among the replies that follow is it, and the last reply where there is none.

#include "tools/exchange_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/hash.h"

#define TARPIT_MARK "Tarpit for '"
#define STAIR_US 10000000 // the least of back pressure

struct fields {
	char *at[EXCHANGE_FIELDS];
	int count;
};

void exchange_log_init(
	struct exchange_log *log,
	void (*event)(void *up, const struct exchange_event *event),
	void *up
)
{
	memset(log, 0, sizeof(*log));
	log->column_time = log->column_session = log->column_event = log->column_data = -1;
	log->event = event;
	log->up = up;
}

// Cuts a line at its commas; "..." may hold commas, and "" for a quote.
static bool fields_cut(char *line, struct fields *ret)
{
	char *to = line;
	bool quoted = false;

	ret->count = 0;
	ret->at[ret->count++] = line;
	for (const char *p = line; *p != '\0'; p++) {
		if (*p == '"' && quoted && p[1] == '"') {
			*to++ = *p++;
		} else if (*p == '"') {
			quoted = !quoted;
		} else if (*p == ',' && !quoted) {
			*to++ = '\0';
			if (ret->count == EXCHANGE_FIELDS)
				return false;
			ret->at[ret->count++] = to;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	return !quoted;
}

static int field_find(const struct fields *f, const char *name)
{
	for (int i = 0; i < f->count; i++)
		if (strcasecmp(f->at[i] + strspn(f->at[i], " "), name) == 0)
			return i;
	return -1;
}

static void header_take(struct exchange_log *log, char *line)
{
	static const char mark[] = "#Fields:";
	struct fields f;

	if (strncasecmp(line, mark, sizeof(mark) - 1) != 0 ||
	    !fields_cut(line + sizeof(mark) - 1, &f))
		return;
	log->column_time = field_find(&f, "date-time");
	log->column_session = field_find(&f, "session-id");
	log->column_event = field_find(&f, "event");
	log->column_data = field_find(&f, "data");
}

// 2020-11-27T09:34:39.159Z
static bool time_parse(const char *text, int64_t *ret)
{
	struct tm tm = {0};
	int n = 0;

	if (sscanf(text,
		   "%4d-%2d-%2dT%2d:%2d:%2d%n",
		   &tm.tm_year,
		   &tm.tm_mon,
		   &tm.tm_mday,
		   &tm.tm_hour,
		   &tm.tm_min,
		   &tm.tm_sec,
		   &n) != 6 ||
	    text[strlen(text) - 1] != 'Z' || tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 ||
	    tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60 || tm.tm_hour < 0 || tm.tm_min < 0 || tm.tm_sec < 0)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret = timegm(&tm);
	return true;
}

// 0.00:00:05 or 0.00:00:00.312
static bool span_parse(const char *text, uint64_t *ret_us)
{
	unsigned days, hours, minutes, seconds, us = 0, unit = 100000;
	int n = 0;

	if (sscanf(text, "%3u.%2u:%2u:%2u%n", &days, &hours, &minutes, &seconds, &n) != 4)
		return false;
	if (text[n] == '.')
		for (n++; text[n] >= '0' && text[n] <= '9'; n++, unit /= 10)
			us += (unsigned)(text[n] - '0') * unit;
	*ret_us = (((uint64_t)days * 24 + hours) * 3600 + minutes * 60 + seconds) * 1000000 + us;
	return text[n] == '\'';
}

static bool begins(const char *text, const char *with)
{
	return strncasecmp(text, with, strlen(with)) == 0;
}

static bool is_refusal(const char *reply)
{
	return reply[0] == '4' || reply[0] == '5';
}

static enum tarpit_reason reason_of(const char *text, const char *verb, uint64_t us)
{
	if (begins(text, "DelayedAck") || begins(text, "250 2.6.0"))
		return TARPIT_DELAYED_ACK;
	if (begins(text, "back pressure") || begins(text, "backpressure"))
		return TARPIT_BACK_PRESSURE;
	if (begins(text, "550 5.1.1"))
		return TARPIT_RECIPIENT_LOOKUP;
	if (begins(text, "535"))
		return TARPIT_AUTH_FAILED;
	if (begins(text, "504"))
		return TARPIT_AUTH_TYPE;
	if (begins(text, "554 5.6.0"))
		return TARPIT_CONTENT;
	if (begins(text, "550 5.7.") && strcasestr(text, "relay") != NULL)
		return TARPIT_RELAY;
	if (text[0] != '2' && text[0] != '3')
		return TARPIT_UNKNOWN;
	return strcasecmp(verb, "MAIL") == 0 && us >= STAIR_US ? TARPIT_BACK_PRESSURE
							       : TARPIT_DISCREDITED;
}

static void event_tell(struct exchange_log *log, struct exchange_session *s)
{
	const struct exchange_event event = {s->unix_s, s->us, s->reason};

	if (s->us == 0)
		return;
	s->us = 0;
	log->event(log->up, &event);
}

// The place of a session; whoever had it is told of as it is.
static struct exchange_session *session_at(struct exchange_log *log, const char *id)
{
	static const struct hash_key key = {0};
	size_t len = strlen(id);
	struct exchange_session *s =
		&log->session[hash_siphash13(&key, id, (uint32_t)len) % EXCHANGE_SESSIONS];

	if (strncmp(s->id, id, sizeof(s->id) - 1) == 0)
		return s;
	event_tell(log, s);
	memset(s, 0, sizeof(*s));
	snprintf(s->id, sizeof(s->id), "%s", id);
	return s;
}

static bool tarpit_take(struct exchange_log *log, struct exchange_session *s, const char *data)
{
	const char *why = strstr(data, "due to '");
	uint64_t us;

	event_tell(log, s);
	if (!span_parse(data + strlen(TARPIT_MARK), &us))
		return false;
	log->tarpits++;
	s->us = us;
	s->reason = TARPIT_UNKNOWN;
	if (why == NULL)
		return true;
	s->reason = reason_of(why + strlen("due to '"), s->verb, us);
	event_tell(log, s);
	return true;
}

static void
reply_take(struct exchange_log *log, struct exchange_session *s, const char *data, int64_t unix_s)
{
	const struct exchange_event full = {unix_s, 0, TARPIT_BACK_PRESSURE_REJECT};

	if (begins(data, "452 4.3.1") || begins(data, "421 4.3.2"))
		log->event(log->up, &full);
	if (s->us == 0)
		return;
	s->reason = reason_of(data, s->verb, s->us);
	if (is_refusal(data))
		event_tell(log, s);
}

static bool fields_take(struct exchange_log *log, const struct fields *f)
{
	const char *event, *data;
	struct exchange_session *s;
	int64_t unix_s;

	if (log->column_time < 0 || log->column_session < 0 || log->column_event < 0 ||
	    log->column_data < 0 || f->count <= log->column_time ||
	    f->count <= log->column_session || f->count <= log->column_event ||
	    f->count <= log->column_data || !time_parse(f->at[log->column_time], &unix_s))
		return false;
	event = f->at[log->column_event];
	data = f->at[log->column_data];
	s = session_at(log, f->at[log->column_session]);
	if (strcmp(event, "*") == 0 && begins(data, TARPIT_MARK)) {
		s->unix_s = unix_s;
		return tarpit_take(log, s, data);
	}
	if (strcmp(event, ">") == 0) {
		reply_take(log, s, data, unix_s);
	} else if (strcmp(event, "<") == 0 || strcmp(event, "-") == 0 || strcmp(event, "+") == 0) {
		event_tell(log, s);
		snprintf(s->verb, sizeof(s->verb), "%.*s", (int)strcspn(data, " :\r"), data);
	}
	return true;
}

void exchange_log_line(struct exchange_log *log, char *line, size_t len)
{
	struct fields f;
	bool whole = memchr(line, '\0', len) == NULL;

	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		line[--len] = '\0';
	if (strncmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3; // the mark of UTF-8
	if (line[0] == '\0' && whole)
		return;
	if (line[0] == '#') {
		header_take(log, line);
		return;
	}
	log->lines++;
	if (!whole || !fields_cut(line, &f) || !fields_take(log, &f))
		log->malformed++;
}

void exchange_log_end(struct exchange_log *log)
{
	for (unsigned i = 0; i < EXCHANGE_SESSIONS; i++)
		event_tell(log, &log->session[i]);
}
