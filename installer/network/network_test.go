package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParseArguments(t *testing.T) {
	for line, want := range map[string]string{
		"":                      "{ <nil> invalid Prefix invalid IP []}",
		"quiet ip=dhcp root=x":  "{ <nil> invalid Prefix invalid IP []}",
		"ip=eth1:dhcp":          "{eth1 <nil> invalid Prefix invalid IP []}",
		"ip=::::node:eth0:dhcp": "{eth0 <nil> invalid Prefix invalid IP []}",
		"ip=192.0.2.5::192.0.2.1:255.255.255.192:node:eno1:none:192.0.2.53:198.51.100.53": "{eno1 <nil> 192.0.2.5/26 192.0.2.1 [192.0.2.53 198.51.100.53]}",
		"ip=10.1.2.3:::8": "{ <nil> 10.1.2.3/8 invalid IP []}",
		"ip=10.1.2.3:::":  "{ <nil> 10.1.2.3/8 invalid IP []}",
		"ip=192.0.2.5::192.0.2.1:24::eth0:off nameserver=2001:db8::1": "{eth0 <nil> 192.0.2.5/24 192.0.2.1 [2001:db8::1]}",
		"BOOTIF=01-52-54-00-12-34-56":                                 "{ 52:54:00:12:34:56 invalid Prefix invalid IP []}",
		"BOOTIF=52:54:00:12:34:56":                                    "{ 52:54:00:12:34:56 invalid Prefix invalid IP []}",
	} {
		got, err := ParseArguments(strings.Fields(line))
		text := fmt.Sprintf("%v", got)
		if got.Hardware == nil {
			text = strings.Replace(text, " [] ", " ", 1)
			text = strings.Replace(text, "{"+got.Interface+" ", "{"+got.Interface+" <nil> ", 1)
			text = strings.Replace(text, "<nil>  ", "<nil> ", 1)
		}
		if err != nil || text != want {
			t.Errorf("%s:\n got %s %v\nwant %s", line, text, err, want)
		}
	}
	for _, line := range []string{"ip=eth0:bootp", "ip=1.2.3.4.5:::", "ip=1.2.3.4:::255.0.255.0", "ip=1.2.3.4:::40", "nameserver=x", "BOOTIF=eth0", "ip=:::::eth0:rarp"} {
		if _, err := ParseArguments(strings.Fields(line)); err == nil || !strings.HasPrefix(err.Error(), line) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestClasslessRoutes(t *testing.T) {
	// The examples of RFC 3442.
	got, err := parseClasslessRoutes([]byte{0, 10, 0, 0, 1, 8, 10, 10, 0, 0, 1, 27, 10, 27, 129, 0, 10, 0, 0, 2, 32, 10, 229, 0, 128, 0, 0, 0, 0})
	want := map[netip.Prefix]netip.Addr{
		netip.MustParsePrefix("0.0.0.0/0"): netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.0/8"): netip.MustParseAddr("10.0.0.1"),
		netip.MustParsePrefix("10.27.129.0/27"): netip.MustParseAddr("10.0.0.2"), netip.MustParsePrefix("10.229.0.128/32"): netip.MustParseAddr("0.0.0.0"),
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range [][]byte{{33, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {8, 10, 1}, {0}} {
		if _, err := parseClasslessRoutes(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func FuzzClasslessRoutes(f *testing.F) {
	f.Add([]byte{0, 10, 0, 0, 1})
	f.Fuzz(func(t *testing.T, option []byte) { parseClasslessRoutes(option) })
}
