// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Values out of libconfig settings, checked. Uses libconfig; no state.

#include "config/cfg_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	enum cfg_section section;
	const char *name;
	bool built;
} keys[] = {
#define KEY(section, name, built, def, help) {CFG_SEC_##section, #name, built},
#include "config/cfg_keys.def"
#undef KEY
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

// Path of a setting from the root, as an operator would write it.
static void key_path(const config_setting_t *at, char *buf, size_t len)
{
	char part[160], tail[320] = "";

	for (unsigned depth = 0; at != NULL && !config_setting_is_root(at) && depth < 16; depth++) {
		const char *name = config_setting_name(at);
		const char *dot = tail[0] != '\0' && tail[0] != '[' ? "." : "";
		char whole[320];

		snprintf(part, sizeof(part), "%.127s", name != NULL ? name : "");
		if (name == NULL)
			snprintf(part, sizeof(part), "[%d]", config_setting_index(at));
		snprintf(whole, sizeof(whole), "%.120s%s%.190s", part, dot, tail);
		memcpy(tail, whole, sizeof(tail));
		at = config_setting_parent(at);
	}
	snprintf(buf, len, "%s", tail);
}

// One more message, its reason still to be written; NULL: no room for it.
static struct cfg_error *message_add(struct cfg_reader *r, const config_setting_t *at)
{
	struct cfg_error *err;

	if (r->errs->count++ >= CFG_MAX_ERRORS)
		return NULL;
	err = &r->errs->item[r->errs->count - 1];
	*err = (struct cfg_error){0};
	snprintf(err->file, sizeof(err->file), "%s", r->path);
	if (at != NULL) {
		err->line = config_setting_source_line(at);
		key_path(at, err->key, sizeof(err->key));
	}
	return err;
}

void cfg_fail(struct cfg_reader *r, const config_setting_t *at, const char *format, ...)
{
	struct cfg_error *err = message_add(r, at);
	va_list ap;

	r->errs->errors++;
	if (err == NULL)
		return;
	va_start(ap, format);
	vsnprintf(err->reason, sizeof(err->reason), format, ap);
	va_end(ap);
}

void cfg_warn(struct cfg_reader *r, const config_setting_t *at, const char *format, ...)
{
	struct cfg_error *err = message_add(r, at);
	va_list ap;

	if (err == NULL)
		return;
	err->warning = true;
	va_start(ap, format);
	vsnprintf(err->reason, sizeof(err->reason), format, ap);
	va_end(ap);
}

void cfg_keys_check(struct cfg_reader *r, const config_setting_t *group, enum cfg_section section)
{
	size_t first = 0, end;

	while (first < KEYS && keys[first].section != section)
		first++;
	for (end = first; end < KEYS && keys[end].section == section;)
		end++; // the rows of a section stand together
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		const char *name = config_setting_name(s);
		bool known = false, built = false;

		for (size_t k = first; name != NULL && k < end && !known; k++) {
			if (strcmp(keys[k].name, name) == 0) {
				known = true;
				built = keys[k].built;
			}
		}
		if (!known)
			cfg_fail(r, s, "unknown key");
		else if (!built)
			cfg_fail(r, s, "not built yet in this version");
	}
}

void cfg_string(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	char *ret,
	size_t len
)
{
	const config_setting_t *s = config_setting_get_member(group, key);
	const char *text;
	size_t text_len;

	if (s == NULL)
		return;
	text = config_setting_get_string(s);
	text_len = text != NULL ? strlen(text) : 0;
	if (text == NULL)
		cfg_fail(r, s, "wants a text in quotes");
	else if (text_len >= len)
		cfg_fail(r, s, "longer than %zu characters", len - 1);
	else
		memcpy(ret, text, text_len + 1);
}

void cfg_uint(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	uint64_t min_max[2],
	uint64_t *ret
)
{
	const config_setting_t *s = config_setting_get_member(group, key);
	long long v;

	if (s == NULL)
		return;
	if (config_setting_type(s) != CONFIG_TYPE_INT &&
	    config_setting_type(s) != CONFIG_TYPE_INT64) {
		cfg_fail(r, s, "wants a whole number");
		return;
	}
	v = config_setting_get_int64(s);
	if (v < 0 || (uint64_t)v < min_max[0] || (uint64_t)v > min_max[1])
		cfg_fail(
			r,
			s,
			"%lld is not between %llu and %llu",
			v,
			(unsigned long long)min_max[0],
			(unsigned long long)min_max[1]
		);
	else
		*ret = (uint64_t)v;
}

void cfg_bool(struct cfg_reader *r, const config_setting_t *group, const char *key, bool *ret)
{
	const config_setting_t *s = config_setting_get_member(group, key);

	if (s == NULL)
		return;
	if (config_setting_type(s) != CONFIG_TYPE_BOOL)
		cfg_fail(r, s, "wants true or false");
	else
		*ret = config_setting_get_bool(s) != 0;
}

// "<number><unit>" with one of the units; false: no such form, or too large.
static bool
unit_parse(const char *text, const char *const *units, const uint64_t *factors, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	for (; text[i] >= '0' && text[i] <= '9' && i < 12; i++)
		v = v * 10 + (uint64_t)(text[i] - '0');
	if (i == 0)
		return false;
	for (unsigned u = 0; units[u] != NULL; u++) {
		if (strcmp(text + i, units[u]) == 0) {
			*ret = v * factors[u];
			return true;
		}
	}
	return false;
}

void cfg_duration(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	uint32_t *ret_ms
)
{
	static const char *const units[] = {"ms", "s", "m", "h", NULL};
	static const uint64_t factors[] = {1, 1000, 60000, 3600000};
	const config_setting_t *s = config_setting_get_member(group, key);
	const char *text = s != NULL ? config_setting_get_string(s) : NULL;
	uint64_t ms;

	if (s == NULL)
		return;
	if (text == NULL || !unit_parse(text, units, factors, &ms))
		cfg_fail(r, s, "wants a time such as \"500ms\", \"10s\", \"5m\" or \"1h\"");
	else if (ms == 0 || ms > 86400000)
		cfg_fail(r, s, "wants a time between 1 ms and 24 hours");
	else
		*ret_ms = (uint32_t)ms;
}

void cfg_size(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	uint64_t *ret_bytes
)
{
	static const char *const units[] = {"", "K", "M", "G", NULL};
	static const uint64_t factors[] = {1, 1U << 10, 1U << 20, 1U << 30};
	const config_setting_t *s = config_setting_get_member(group, key);
	const char *text = s != NULL ? config_setting_get_string(s) : NULL;

	if (s == NULL)
		return;
	if (text == NULL || !unit_parse(text, units, factors, ret_bytes))
		cfg_fail(r, s, "wants a size such as \"512M\" or \"4G\"");
}

void cfg_choose(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	const struct cfg_choice *choices,
	int *ret
)
{
	const config_setting_t *s = config_setting_get_member(group, key);
	const char *text = s != NULL ? config_setting_get_string(s) : NULL;

	if (s == NULL)
		return;
	for (unsigned i = 0; text != NULL && choices[i].name != NULL; i++) {
		if (strcmp(choices[i].name, text) != 0)
			continue;
		if (choices[i].value < 0)
			cfg_fail(r, s, "\"%s\" is not built yet in this version", text);
		else
			*ret = choices[i].value;
		return;
	}
	cfg_fail(
		r,
		s,
		"%s%.60s%s is not one of the values it can have",
		text ? "\"" : "",
		text ? text : "this",
		text ? "\"" : ""
	);
}

config_setting_t *cfg_group(struct cfg_reader *r, const config_setting_t *group, const char *key)
{
	config_setting_t *s = config_setting_get_member(group, key);

	if (s == NULL || config_setting_is_group(s))
		return s;
	cfg_fail(r, s, "wants a group { ... }");
	return NULL;
}

config_setting_t *cfg_list(struct cfg_reader *r, const config_setting_t *group, const char *key)
{
	config_setting_t *s = config_setting_get_member(group, key);

	if (s == NULL || config_setting_is_list(s) || config_setting_is_array(s))
		return s;
	cfg_fail(r, s, "wants a list");
	return NULL;
}

void cfg_name_take(struct cfg_reader *r, const config_setting_t *s, char ret[MR_NAME_LEN])
{
	const char *name = config_setting_name(s);

	if (name == NULL || strlen(name) >= MR_NAME_LEN)
		cfg_fail(r, s, "name longer than %d characters", MR_NAME_LEN - 1);
	else
		snprintf(ret, MR_NAME_LEN, "%s", name);
}

const char *cfg_element_text(struct cfg_reader *r, const config_setting_t *list, unsigned i)
{
	const config_setting_t *e = config_setting_get_elem(list, i);
	const char *text = config_setting_get_string(e);

	if (text == NULL)
		cfg_fail(r, e, "wants a text in quotes");
	return text;
}
