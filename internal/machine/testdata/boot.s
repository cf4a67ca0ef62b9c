# as --32 -o boot.o boot.s && ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o boot.bin boot.o
#
# A system of 512 bytes: it says on the serial line what the second disk is labelled and how
# often it has been started, and notes that on its own disk. It ignores the power button.
	.code16
	.globl _start
_start:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7c00, %sp
	# the count of starts is in sector 1
	mov $own, %si
	mov $0x4200, %ax
	mov $0x80, %dl
	int $0x13
	jc fail
	incb 0x8000
	mov $own, %si
	mov $0x4300, %ax
	mov $0x80, %dl
	int $0x13
	jc fail2
say:
	mov $hello, %si
	call print
	mov 0x8000, %al
	add $'0', %al
	call put
	mov $label, %si
	call print
	mov $seed, %si
	mov $0x4200, %ax
	mov $0x81, %dl
	int $0x13
	jc none
	mov $0x8000+40, %si
	movb $0, 0x8000+46
	call print
none:
	mov $end, %si
	call print
stop:
	hlt
	jmp stop
fail2:
	mov $ro, %si
	call print
	jmp say
fail:
	mov $bad, %si
	call print
	jmp stop
print:
	lodsb
	test %al, %al
	jz 1f
	call put
	jmp print
1:	ret
put:
	push %ax
	mov $0x3fd, %dx
2:	in %dx, %al
	test $0x20, %al
	jz 2b
	pop %ax
	mov $0x3f8, %dx
	out %al, %dx
	ret
own:	.byte 16, 0
	.word 1, 0x8000, 0
	.quad 1
seed:	.byte 16, 0
	.word 1, 0x8000, 0
	.quad 64
hello:	.asciz "start "
label:	.asciz ", seed "
end:	.asciz ".\r\n"
ro:	.asciz "read-only. "
bad:	.asciz "no disk.\r\n"
	.org 510
	.word 0xaa55
