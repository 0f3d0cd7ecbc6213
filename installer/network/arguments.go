package network

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Arguments are what the kernel's command line says about the network.
type Arguments struct {
	// Interface is the only interface to use; empty for all.
	Interface string
	// Hardware is the address of the only interface to use; nil for all.
	Hardware net.HardwareAddr
	// Address is a fixed address; when it is invalid, DHCP is asked.
	Address netip.Prefix
	// Gateway is the default route of a fixed address; may be invalid.
	Gateway netip.Addr
	// NameServers are asked before those of DHCP.
	NameServers []netip.Addr
}

// ParseArguments reads the words of the command line. Errors name the argument.
func ParseArguments(words []string) (Arguments, error) {
	var a Arguments
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			continue
		}
		var err error
		switch key {
		case "ip":
			err = a.parseIP(value)
		case "nameserver":
			err = a.addNameServer(value)
		case "BOOTIF":
			a.Hardware, err = parseBootInterface(value)
		}
		if err != nil {
			return a, fmt.Errorf("%s: %w", word, err)
		}
	}
	return a, nil
}

func (a *Arguments) parseIP(value string) error {
	switch value {
	case "dhcp", "on", "any", "":
		return nil
	}
	fields := splitColons(value)
	if len(fields) == 2 {
		if fields[1] != "dhcp" && fields[1] != "on" {
			return fmt.Errorf("%q is no way to configure an interface; dhcp is", fields[1])
		}
		a.Interface = fields[0]
		return nil
	}
	for len(fields) < 9 {
		fields = append(fields, "")
	}
	client, gateway, mask, device, method := fields[0], fields[2], fields[3], fields[5], fields[6]
	a.Interface = device
	for _, server := range fields[7:9] {
		if server == "" {
			continue
		}
		if err := a.addNameServer(server); err != nil {
			return err
		}
	}
	if client == "" {
		if method != "dhcp" && method != "on" && method != "any" && method != "" {
			return fmt.Errorf("neither an address nor dhcp")
		}
		return nil
	}
	address, err := parseAddress(client)
	if err != nil {
		return err
	}
	bits, err := parseMask(mask, address)
	if err != nil {
		return err
	}
	a.Address = netip.PrefixFrom(address, bits)
	if gateway != "" {
		if a.Gateway, err = parseAddress(gateway); err != nil {
			return err
		}
	}
	return nil
}

func (a *Arguments) addNameServer(value string) error {
	address, err := parseAddress(value)
	if err != nil {
		return err
	}
	a.NameServers = append(a.NameServers, address)
	return nil
}

// splitColons splits at colons outside of brackets, which hold IPv6 addresses.
func splitColons(s string) []string {
	fields, depth, start := []string{}, 0, 0
	for i, r := range s {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ':' && depth <= 0:
			fields = append(fields, s[start:i])
			start = i + 1
		}
	}
	return append(fields, s[start:])
}

func parseAddress(s string) (netip.Addr, error) {
	address, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return address, fmt.Errorf("%q is no address", s)
	}
	return address, nil
}

// parseMask returns the number of bits of a netmask. Without one it is that of the address' class, as for the kernel.
func parseMask(s string, address netip.Addr) (int, error) {
	if s == "" {
		if address.Is6() {
			return 64, nil
		}
		four := address.As4()
		ones, _ := net.IP(four[:]).DefaultMask().Size()
		return ones, nil
	}
	if bits, err := strconv.Atoi(s); err == nil {
		if bits < 0 || bits > address.BitLen() {
			return 0, fmt.Errorf("%s is no number of bits of a netmask", s)
		}
		return bits, nil
	}
	mask, err := netip.ParseAddr(s)
	if err != nil || !mask.Is4() {
		return 0, fmt.Errorf("%q is no netmask", s)
	}
	four := mask.As4()
	ones, size := net.IPMask(four[:]).Size()
	if size == 0 {
		return 0, fmt.Errorf("%q is no netmask", s)
	}
	return ones, nil
}

// parseBootInterface reads "01-52-54-00-12-34-56": the type of the hardware and its address. iPXE leaves out the type.
func parseBootInterface(value string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(strings.ReplaceAll(value, ":", "-"))
	if err == nil && len(mac) == 6 {
		return mac, nil
	}
	if kind, rest, ok := strings.Cut(value, "-"); ok && len(kind) == 2 {
		if mac, err := net.ParseMAC(rest); err == nil && len(mac) == 6 {
			return mac, nil
		}
	}
	return nil, fmt.Errorf("%q is no hardware address", value)
}
