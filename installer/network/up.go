package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

// Options say how to bring up the network.
type Options struct {
	Arguments
	// Sys is where sysfs is: "/sys".
	Sys string
	// Changes receives a value whenever devices changed; drivers may make interfaces late.
	Changes <-chan struct{}
	// Log is told what happens, in sentences.
	Log func(format string, args ...any)
}

// Connection is a network that is up.
type Connection struct {
	Interface string
	Address   netip.Prefix
	// NameServers and Search are what a resolv.conf says.
	NameServers []netip.Addr
	Search      []string
}

// String describes the connection for a person.
func (c Connection) String() string {
	return fmt.Sprintf("%s with the address %s", c.Interface, c.Address)
}

// ResolvConf is the contents of /etc/resolv.conf.
func (c Connection) ResolvConf() []byte {
	var b bytes.Buffer
	for _, server := range c.NameServers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(c.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.Search, " "))
	}
	return b.Bytes()
}

// Up brings up the network until ctx ends. Every interface that may be used is tried at the same time, again and again, as
// switches take their time before they forward; the first that gets an address is taken. A lease is renewed as long as
// life, another context, lasts.
func Up(ctx, life context.Context, options Options) (*Connection, error) {
	trying := map[string]bool{}
	type answer struct {
		connection *Connection
		err        error
	}
	answers := make(chan answer)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := map[string]error{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		interfaces, err := options.interfaces()
		if err != nil {
			return nil, err
		}
		for _, i := range interfaces {
			if trying[i.Name] {
				continue
			}
			trying[i.Name] = true
			options.Log("Asking for an address on %s (%s).", i.Name, i.HardwareAddr)
			go func() {
				connection, err := options.try(ctx, life, i)
				if err != nil {
					err = fmt.Errorf("%s: %w", i.Name, err)
				}
				select {
				case answers <- answer{connection, err}:
				case <-ctx.Done():
				}
			}()
		}
		select {
		case a := <-answers:
			if a.err == nil {
				return a.connection, nil
			}
			name, _, _ := strings.Cut(a.err.Error(), ":")
			failures[name] = a.err
		case <-options.Changes:
		case <-tick.C:
		case <-ctx.Done():
			return nil, options.explain(trying, failures)
		}
	}
}

// explain says why there is no network.
func (o Options) explain(tried map[string]bool, failures map[string]error) error {
	if len(tried) == 0 {
		switch {
		case o.Hardware != nil:
			return fmt.Errorf("there is no network interface with the address %s of BOOTIF=", o.Hardware)
		case o.Interface != "":
			return fmt.Errorf("there is no network interface %s, which ip= names", o.Interface)
		}
		return errors.New("there is no network interface: this initramfs may lack the driver of the network card")
	}
	var errs []error
	for name := range tried {
		err := failures[name]
		if err == nil {
			err = fmt.Errorf("%s: no DHCP server answered", name)
			if state, readErr := os.ReadFile(filepath.Join(o.Sys, "class/net", name, "carrier")); readErr == nil && strings.TrimSpace(string(state)) == "0" {
				err = fmt.Errorf("%s: no cable is connected", name)
			}
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("no network: %w", errors.Join(errs...))
}

// interfaces returns the interfaces that may be used.
func (o Options) interfaces() ([]net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("looking for network interfaces: %w", err)
	}
	var usable []net.Interface
	for _, i := range all {
		switch {
		case i.Flags&net.FlagLoopback != 0 || len(i.HardwareAddr) != 6:
		case o.Interface != "" && i.Name != o.Interface:
		case o.Hardware != nil && !bytes.Equal(i.HardwareAddr, o.Hardware):
		default:
			// Tunnels and bridges are not devices.
			if _, err := os.Stat(filepath.Join(o.Sys, "class/net", i.Name, "device")); err == nil {
				usable = append(usable, i)
			}
		}
	}
	return usable, nil
}

// try configures one interface.
func (o Options) try(ctx, life context.Context, i net.Interface) (*Connection, error) {
	c, err := openControl()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.up(i.Name); err != nil {
		return nil, fmt.Errorf("bringing up the link: %w", err)
	}
	if o.Address.IsValid() {
		if err := c.setAddress(i.Name, o.Address); err != nil {
			return nil, err
		}
		if o.Gateway.IsValid() {
			if err := c.addRoute(i.Name, defaultRoute, o.Gateway); err != nil {
				return nil, err
			}
		}
		return &Connection{Interface: i.Name, Address: o.Address, NameServers: o.NameServers}, nil
	}
	if err := seedRandom(); err != nil {
		return nil, err
	}
	for told := ""; ; {
		client, err := nclient4.New(i.Name, nclient4.WithTimeout(3*time.Second), nclient4.WithRetry(2))
		if err != nil {
			return nil, err
		}
		lease, err := client.Request(ctx, dhcpv4.WithRequestedOptions(
			dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
			dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionInterfaceMTU))
		client.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			if text := err.Error(); text != told {
				o.Log("No address on %s yet: %v.", i.Name, err)
				told = text
			}
			// No answer in some seconds, or a link that is not up yet, which is told at once.
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		connection, err := o.apply(c, i.Name, lease.ACK)
		if err != nil {
			return nil, err
		}
		go renew(life, i.Name, lease)
		return connection, nil
	}
}

// seedRandom waits until the kernel has random numbers. It gathers entropy for those who wait, and the DHCP client does
// not: in a machine without a source of its own it would ask in vain for ever.
func seedRandom() error {
	for {
		_, err := unix.Getrandom(make([]byte, 1), 0)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for random numbers: %w", err)
		}
	}
}

// apply configures an interface as the DHCP server says.
func (o Options) apply(c control, name string, ack *dhcpv4.DHCPv4) (*Connection, error) {
	address, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok {
		return nil, fmt.Errorf("the DHCP server gave the address %s", ack.YourIPAddr)
	}
	bits, err := parseMask("", address)
	if err != nil {
		return nil, err
	}
	if mask := ack.SubnetMask(); mask != nil {
		bits, _ = mask.Size()
	}
	connection := &Connection{Interface: name, Address: netip.PrefixFrom(address, bits), NameServers: o.NameServers}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= 576 {
		if err := c.setMTU(name, int(mtu)); err != nil {
			o.Log("%s cannot have the MTU of %d that the DHCP server asks for: %v.", name, mtu, err)
		}
	}
	if err := c.setAddress(name, connection.Address); err != nil {
		return nil, err
	}
	if err := addRoutes(c, name, ack); err != nil {
		return nil, err
	}
	for _, server := range ack.DNS() {
		if address, ok := netip.AddrFromSlice(server.To4()); ok {
			connection.NameServers = append(connection.NameServers, address)
		}
	}
	if domain := strings.TrimRight(ack.DomainName(), "\x00"); domain != "" && !strings.ContainsAny(domain, "\n\r") {
		connection.Search = strings.Fields(domain)
	}
	return connection, nil
}

// addRoutes adds the classless routes when there are any, else those of the routers, as RFC 3442 wants.
func addRoutes(c control, name string, ack *dhcpv4.DHCPv4) error {
	if option := ack.Options.Get(dhcpv4.OptionClasslessStaticRoute); option != nil {
		routes, err := parseClasslessRoutes(option)
		if err != nil {
			return err
		}
		// Gateways may themselves need a route on the link.
		for _, direct := range []bool{true, false} {
			for to, gateway := range routes {
				if gateway.IsUnspecified() == direct {
					if err := c.addRoute(name, to, gateway); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	for _, router := range ack.Router() {
		if gateway, ok := netip.AddrFromSlice(router.To4()); ok {
			return c.addRoute(name, defaultRoute, gateway) // the first is preferred
		}
	}
	return nil
}

// renew keeps a lease. An installation that takes longer than a lease of minutes would lose its address otherwise.
func renew(life context.Context, name string, lease *nclient4.Lease) {
	for {
		duration := lease.ACK.IPAddressLeaseTime(time.Hour)
		wait := time.NewTimer(max(duration/2, 10*time.Second))
		select {
		case <-life.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		client, err := nclient4.New(name, nclient4.WithTimeout(3*time.Second))
		if err != nil {
			continue
		}
		if renewed, err := client.Renew(life, lease); err == nil {
			lease = renewed
		}
		client.Close()
	}
}
