package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is a socket to configure interfaces with. These calls are older than netlink, and all that is needed.
type control int

func openControl() (control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("opening a socket: %w", err)
	}
	return control(fd), nil
}

func (c control) close() { unix.Close(int(c)) }

func (c control) up(name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(int(c), unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(int(c), unix.SIOCSIFFLAGS, request)
}

func (c control) setMTU(name string, mtu int) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint32(uint32(mtu))
	return unix.IoctlIfreq(int(c), unix.SIOCSIFMTU, request)
}

// setAddress gives an interface its IPv4 address and netmask.
func (c control) setAddress(name string, address netip.Prefix) error {
	if !address.Addr().Is4() {
		return errors.New("fixed IPv6 addresses are not supported: the kernel takes one from router advertisements")
	}
	for _, set := range []struct {
		call  uint
		value []byte
	}{
		{unix.SIOCSIFADDR, address.Addr().AsSlice()},
		{unix.SIOCSIFNETMASK, net.CIDRMask(address.Bits(), 32)},
	} {
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := request.SetInet4Addr(set.value); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(int(c), set.call, request); err != nil {
			return fmt.Errorf("giving %s the address %s: %w", name, address, err)
		}
	}
	return nil
}

// routeEntry is struct rtentry of the kernel's route.h, on 64-bit machines.
type routeEntry struct {
	_                          uint64
	destination, gateway, mask unix.RawSockaddrInet4
	flags                      uint16
	_                          int16
	_, _                       uint64
	metric                     int16
	device                     *byte
	_, _                       uint64
	_                          uint16
}

// addRoute adds an IPv4 route. Without a gateway, the destination is on the link.
func (c control) addRoute(name string, to netip.Prefix, gateway netip.Addr) error {
	device, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	entry := routeEntry{
		destination: socketAddress(to.Masked().Addr().As4()),
		mask:        socketAddress([4]byte(net.CIDRMask(to.Bits(), 32))),
		flags:       unix.RTF_UP,
		device:      device,
	}
	if gateway.IsValid() && !gateway.IsUnspecified() {
		entry.gateway = socketAddress(gateway.As4())
		entry.flags |= unix.RTF_GATEWAY
	}
	if to.Bits() == 32 {
		entry.flags |= unix.RTF_HOST
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c), unix.SIOCADDRT, uintptr(unsafe.Pointer(&entry)))
	runtime.KeepAlive(device)
	if errno != 0 && errno != unix.EEXIST {
		return fmt.Errorf("adding the route to %s by %s on %s: %w", to, gateway, name, errno)
	}
	return nil
}

func socketAddress(address [4]byte) unix.RawSockaddrInet4 {
	return unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: address}
}

// defaultRoute is the destination of everything else.
var defaultRoute = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// parseClasslessRoutes reads option 121 (RFC 3442): bits, as many bytes of the destination as they need, the gateway.
func parseClasslessRoutes(option []byte) (map[netip.Prefix]netip.Addr, error) {
	routes := map[netip.Prefix]netip.Addr{}
	for len(option) > 0 {
		bits := int(option[0])
		length := (bits + 7) / 8
		if bits > 32 || len(option) < 1+length+4 {
			return nil, errors.New("the DHCP server's classless static routes are malformed")
		}
		var destination, gateway [4]byte
		copy(destination[:], option[1:1+length])
		binary.BigEndian.PutUint32(gateway[:], binary.BigEndian.Uint32(option[1+length:]))
		routes[netip.PrefixFrom(netip.AddrFrom4(destination), bits)] = netip.AddrFrom4(gateway)
		option = option[1+length+4:]
	}
	return routes, nil
}
