/* jansson beside base/json_scan: both have an enum json_type with JSON_OBJECT and so on, so
 * jansson's get other names here. jansson's json_is_object() and its kind must not be used with it:
 * they would compare with our numbers. */
#ifndef TESTS_JANSSON_PEER_H
#define TESTS_JANSSON_PEER_H

#define json_type    jansson_type
#define JSON_OBJECT  JANSSON_OBJECT
#define JSON_ARRAY   JANSSON_ARRAY
#define JSON_STRING  JANSSON_STRING
#define JSON_INTEGER JANSSON_INTEGER
#define JSON_REAL    JANSSON_REAL
#define JSON_TRUE    JANSSON_TRUE
#define JSON_FALSE   JANSSON_FALSE
#define JSON_NULL    JANSSON_NULL
#include <jansson.h>
#undef json_type
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_INTEGER
#undef JSON_REAL
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL

#endif
