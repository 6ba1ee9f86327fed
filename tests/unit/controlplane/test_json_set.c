// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Members of the views' objects: a name that fills its field has no end, and nothing behind it is
// read.

#include "controlplane/json_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void names_end_with_their_field(void **state)
{
	char *name = malloc(MR_NAME_LEN); // so that the sanitizer sees a byte too many
	json_t *o = json_object();

	assert_non_null(name);
	memset(name, 'n', MR_NAME_LEN);
	set_name(o, "long", name);
	name[2] = '\0';
	set_name(o, "short", name);
	assert_int_equal(json_string_length(json_object_get(o, "long")), MR_NAME_LEN);
	assert_string_equal(json_string_value(json_object_get(o, "short")), "nn");
	json_decref(o);
	free(name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_end_with_their_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
