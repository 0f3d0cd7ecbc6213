// Package network brings up the network of a machine that has no userland: links, DHCPv4 or fixed addresses, routes and name
// servers. IPv6 is the kernel's: with the links up, it takes addresses and routes from router advertisements by itself.
//
// DHCP is spoken by github.com/insomniacslk/dhcp, the library of u-root, CoreDHCP and Tailscale: raw packets before there is an
// address, retransmission, and relays' options are easy to get nearly right. The kernel's own ip= is compiled into few
// distributions' kernels; its syntax is what administrators know, so [ParseArguments] takes it:
//
//	ip=dhcp                     DHCP on every interface; so does ip=on, ip=any, and no ip= at all
//	ip=IFACE:dhcp               DHCP on one
//	ip=ADDR:[SERVER]:[GATEWAY]:[NETMASK]:[HOSTNAME]:[IFACE]:[AUTOCONF]:[DNS0]:[DNS1]
//	nameserver=ADDR             a further name server; may be repeated
//	BOOTIF=01-XX-XX-XX-XX-XX-XX the interface that the machine was started over, as boot loaders say it
//
// NETMASK is dotted or a number of bits. AUTOCONF is none, off or empty with ADDR, dhcp without.
package network
